"""The one verb: take an operation that is due at a stage, move it one stage, write that down.

Celery, Beat, the command line and a crashed worker only decide when this is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from opsqueue.errors import DatabaseUnreachable, LeaseLost, OpsqueueError
from opsqueue.model.names import Outcome, Stage
from opsqueue.model.record import Event, Operation
from opsqueue.pipeline import analyze, collect, execute, notify, verify, window
from opsqueue.pipeline.dispatch import nudge, wake_waiting
from opsqueue.pipeline.move import InTransaction, Known, Move
from opsqueue.pipeline.world import World
from opsqueue.store import events, holds, operations
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.pipeline")

_STAGES: dict[Stage, Callable[[World, Operation, Known], Move | InTransaction]] = {
    Stage.VERIFY: verify.verify,
    Stage.WINDOW: window.window,
    Stage.EXECUTE: execute.execute,
    Stage.COLLECT: collect.collect,
    Stage.ANALYZE: analyze.analyze,
    Stage.NOTIFY: notify.notify,
}

_ACTING = frozenset({Stage.EXECUTE, Stage.NOTIFY})
"""Stages that do something to hosts, or to people."""

MOST_TRIES = 8
"""Tries of one stage that came to nothing (our own faults, killed workers) before a person must look."""


def advance(world: World, operation_id: str, stage: Stage, *, go_on: bool = False) -> Stage | None:
    """Move the operation on from `stage`, if it rests there, is due, and nobody else has it.

    Returns the stage that comes next, or None when it is not to go on now: held, over, or not ours. With
    `go_on` the following stages are worked too, in this process, as long as nothing stands against it.
    """
    try:
        operation, known = _take(world, operation_id, stage), None
        while operation is not None:
            moved, known = _work(world, operation, known, keep=go_on)
            if moved is None or not go_on:
                return moved.stage if moved else None
            operation = moved
    except LeaseLost as lost:
        _log.warning("%s", lost.message, extra={"operation_id": operation_id, "stage": stage})
    return None


def _take(world: World, operation_id: str, stage: Stage) -> Operation | None:
    now = world.now()
    until = now + world.settings.worker.lease_seconds
    # Two who took it with the same token, because a crash of the database took back the first lease, still cannot both
    # bring it to `execute`; there and at `notify` something is done to the world, and each lease counts.
    with world.store.begin(lasting=stage in _ACTING) as tx:
        return operations.take(tx, operation_id, stage, now=now, until=until, holder=world.worker)


def _work(world: World, operation: Operation, known: Known, *, keep: bool) -> tuple[Operation | None, Known]:
    """One stage, with its lease kept; the operation at its next stage, or None when it rests, and its targets."""
    started = world.now()
    with world.heart.beating(lambda: _renew(world, operation), world.settings.worker.lease_seconds / 3):
        move = _decide(world, operation, known)
        with world.store.begin(lasting=_must_last(operation)) as tx:
            settled = move if isinstance(move, Move) else move(tx)
            moved = _write(tx, world, operation, settled, started=started, keep=keep)
    _say(operation, moved, settled)
    if settled.wake:
        wake_waiting(world)
    goes_on = moved.stage is operation.stage.next and moved.stage is not Stage.CLOSED
    if not goes_on and moved.due_at is not None and moved.due_at <= world.now():
        nudge(world, moved.id)  # it went back to verify: nothing to wait for
    return (moved if goes_on else None), settled.targets


def _must_last(operation: Operation) -> bool:
    """Whether what the stage decided has to survive a power cut; to look at a host once more harms nobody."""
    if operation.looking:
        return operation.stage is Stage.NOTIFY
    return operation.stage in {Stage.WINDOW, *_ACTING}


def _renew(world: World, operation: Operation) -> None:
    with world.store.begin(lasting=False) as tx:
        operations.renew(tx, operation, world.now() + world.settings.worker.lease_seconds)


def _decide(world: World, operation: Operation, known: Known) -> Move | InTransaction:
    if operation.attempts > MOST_TRIES + operation.retry_count:  # tries that were asked for are not in vain
        return _given_up(operation, f"the stage {operation.stage} was tried {operation.attempts} times in vain")
    try:
        return _STAGES[operation.stage](world, operation, known)
    except (LeaseLost, DatabaseUnreachable):
        raise
    except Exception as error:  # noqa: BLE001  # a stage's fault must neither end the worker nor lose the operation
        _log.exception("ERROR in stage %s", operation.stage, extra={"operation_id": operation.id})
        return _tried_in_vain(world, operation, error)


def _tried_in_vain(world: World, operation: Operation, error: Exception) -> Move:
    why = error.message if isinstance(error, OpsqueueError) else f"{type(error).__name__}: {error}"
    tried = replace(operation, attempts=operation.attempts + 1)
    if tried.attempts > MOST_TRIES + operation.retry_count:
        return _given_up(tried, f"the stage {operation.stage} was tried {tried.attempts} times in vain; at last: {why}")
    due = world.now() + world.backoff(operation.attempts)
    return Move(operation=tried, to=operation.stage, result="retrying", why=why, due_at=due)


def _given_up(operation: Operation, why: str) -> Move:
    # Before execute nothing was sent, so it failed; from there on only a person can tell.
    outcome = Outcome.FAILED if operation.stage in {Stage.VERIFY, Stage.WINDOW} else Outcome.UNKNOWN
    ended = replace(operation, outcome=operation.outcome or outcome, attempts=0)
    if operation.stage is Stage.NOTIFY:
        return Move(operation=replace(ended, hold=("delivery",)), to=Stage.NOTIFY, result="held", why=why)
    if operation.stage is Stage.ANALYZE:  # what it holds is given back there, whatever becomes of the analysis
        let_go = partial(holds.release, operation_id=operation.id)
        return Move(operation=ended, to=Stage.NOTIFY, result="failed", why=why, write=let_go, wake=True)
    return Move(operation=ended, to=operation.stage.next, result="failed", why=why)


def _write(tx: Connection, world: World, operation: Operation, move: Move, *, started: float, keep: bool) -> Operation:
    now = world.now()
    onward = move.to is operation.stage.next
    keep = keep and onward and move.to is not Stage.CLOSED
    due_at = now if onward else move.due_at
    moved = replace(
        move.operation,
        stage=move.to,
        holder=operation.holder if keep else "",
        due_at=now + world.settings.worker.lease_seconds if keep else due_at,
        attempts=0 if onward else move.operation.attempts,
        hold=move.operation.hold if move.result == "held" else (),
        finished_at=now if move.to is Stage.CLOSED else None,
    )
    cancel_asked = operations.save(tx, moved, operation.stage, now if onward else 0.0)
    if cancel_asked != moved.cancel_asked:  # it came while the stage was worked: it is not to wait with the rest
        moved = replace(moved, cancel_asked=cancel_asked)
        if not moved.holder and moved.due_at != now and move.to is not Stage.CLOSED:
            operations.wake(tx, [moved.id], now)
            moved = replace(moved, due_at=now)
    move.write(tx)
    events.append(tx, [*move.events, *_history(operation, move, started, now)])
    return moved


def _history(operation: Operation, move: Move, started: float, now: float) -> list[Event]:
    if move.result == "held" and operation.hold and operation.hold == move.operation.hold:
        return []  # it still waits for the same: said once is enough
    if move.result == "shared":
        return []  # said when it was shared out
    return [
        Event(
            operation_id=operation.id,
            at=now,
            kind="stage",
            stage=operation.stage,
            actor=operation.holder,
            message=move.why or move.result,
            data={"result": move.result, "started_at": started, "seconds": round(now - started, 6)},
        )
    ]


def _say(operation: Operation, moved: Operation, move: Move) -> None:
    level = logging.INFO
    if move.result in {"failed", "denied", "retrying"}:
        level = logging.WARNING
    word = "FAILED " if move.result == "failed" else ""
    _log.log(
        level,
        "%s%s %s%s",
        word,
        operation.stage,
        move.result,
        f": {move.why}" if move.why else "",
        extra={"operation_id": operation.id, "fields": {"type": operation.type, "outcome": moved.outcome or "-"}},
    )

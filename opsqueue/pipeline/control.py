"""What people do to operations: cancel, retry, freeze, lift."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from opsqueue.errors import Conflict, InvalidRequest, NotFound
from opsqueue.model.names import Stage, TargetState
from opsqueue.model.record import Event, Freeze, Operation, Target, status_of
from opsqueue.pipeline.dispatch import nudge
from opsqueue.pipeline.outcome import DONE
from opsqueue.pipeline.world import World
from opsqueue.store import deliveries, events, holds, operations
from opsqueue.store.engine import Connection


def cancel(world: World, operation_id: str, *, actor: str, reason: str) -> Operation:
    """Stop an operation: nothing that is not begun is begun; what is begun is brought to its end.

    At notify it means: a person knows, and it closes. Raises Conflict when it is closed already.
    """
    now = world.now()
    with world.store.begin() as tx:
        operation = operations.get(tx, operation_id)
        if operation.stage is Stage.CLOSED:
            raise Conflict(
                f"operation {operation_id} has ended: {status_of(operation, now)}. There is nothing to cancel."
            )
        operations.ask_cancel(tx, operation, f"{actor}: {reason}" if reason else actor, now)
        _note(tx, operation, now, "cancel_asked", actor, reason or "no reason given")
    nudge(world, operation_id)
    return operation


def retry(world: World, operation_id: str, *, actor: str, reason: str) -> Operation:
    """Try again what waits for a person: dead deliveries are sent again, a held or waiting stage looks again.

    A closed operation is history and stays so: ask for a new one. Raises Conflict when there is nothing to retry.
    """
    now = world.now()
    with world.store.begin() as tx:
        operation = operations.get(tx, operation_id)
        if operation.stage is Stage.CLOSED:
            raise Conflict(
                f"operation {operation_id} has ended: {status_of(operation, now)}. "
                "Ask for a new one with `opsqueue execute`; `opsqueue show` prints its parameters."
            )
        if operation.holder and operation.due_at is not None and operation.due_at > now:
            raise Conflict(f"operation {operation_id} is being worked on: {status_of(operation, now)}")
        for delivery in deliveries.of(tx, operation_id):
            if delivery.status in {"dead", "failed"}:
                deliveries.save(tx, replace(delivery, status="queued", attempts=0, next_at=now))
        if not operations.reopen(tx, operation, operation.stage, now):
            raise Conflict(f"operation {operation_id} was just taken by a worker: look at it, then ask again")
        _note(tx, operation, now, "retry_asked", actor, reason or "no reason given")
    nudge(world, operation_id)
    return operation


def failed_hosts(operation: Operation, targets: Sequence[Target]) -> tuple[str, ...]:
    """The hosts on which an operation that ended did not succeed; Conflict when there are none, or it goes on."""
    if operation.outcome is None:
        raise Conflict(f"operation {operation.id} goes on: what fails in it is tried again by itself, or when it ended")
    doubtful = [target.host for target in targets if target.state is TargetState.UNKNOWN]
    if doubtful and operation.stage is not Stage.CLOSED:
        raise Conflict(
            f"nobody knows how {', '.join(doubtful)} stands: log in and look first; "
            f"`opsqueue cancel {operation.id} --reason …` says that somebody did"
        )
    hosts = tuple(target.host for target in targets if target.state not in DONE)
    if not hosts:
        raise Conflict(f"operation {operation.id} succeeded on all of its hosts: there is nothing to try again")
    return hosts


def once_more(operation: Operation, hosts: tuple[str, ...]) -> dict[str, Any]:
    """The request that asks for the same on these hosts."""
    return {
        "name": operation.name,
        "type": operation.type,
        "priority": operation.priority.value,
        "description": operation.description,
        "parameters": dict(operation.parameters),
        "target_systems": list(hosts),
        "timeout": operation.timeout,
        "retry_count": operation.retry_count,
        "maintenance_window": operation.window,
        "notification_channels": None if operation.channels is None else list(operation.channels),
        "rollback_enabled": operation.rollback_enabled,
        "rollout": dict(operation.rollout) or None,
    }


def add_freeze(
    world: World, *, scope: tuple[str, ...], reason: str, ends_at: float | None, starts_at: float | None, actor: str
) -> Freeze:
    """Forbid changes to hosts, groups or types (or `all`) from now, or `starts_at`, until `ends_at` or a lift."""
    now = world.now()
    here = world.inventory
    known = {"all", *here, *here.groups, *here.tags, *world.kinds}
    exact = {*(f"group:{name}" for name in here.groups), *(f"tag:{name}" for name in here.tags)}
    if unknown := [word for word in scope if word not in known | exact]:
        raise NotFound(
            f"there is no host, group, tag or type {unknown[0]!r} to freeze; write `all` for everything",
            known=sorted(known)[:50],
        )
    if not reason.strip():
        raise InvalidRequest("a freeze needs a reason: it is what everybody who waits will read")
    begins = now if starts_at is None else starts_at
    if ends_at is not None and ends_at <= max(now, begins):
        raise InvalidRequest("a freeze ends after it begins, and later than now")
    freeze = Freeze(
        id=secrets.token_hex(4),
        scope=scope,
        reason=reason,
        starts_at=begins,
        ends_at=ends_at,
        created_by=actor,
        created_at=now,
    )
    with world.store.begin() as tx:
        holds.add_freeze(tx, freeze)
        line = Event(
            operation_id=None, at=now, kind="freeze_added", actor=actor, message=reason, data={"id": freeze.id}
        )
        events.append(tx, [line])
    return freeze


def lift_freeze(world: World, prefix: str, *, actor: str) -> str:
    """End the freeze whose id begins so, and let what it held look again; its whole id.

    Raises NotFound when none with this id stands, Conflict when several do.
    """
    now = world.now()
    with world.store.begin() as tx:
        freeze_id = _standing(tx, prefix, now)
        if not holds.lift_freeze(tx, freeze_id, actor=actor, now=now):
            raise _no_freeze(freeze_id)
        line = Event(operation_id=None, at=now, kind="freeze_lifted", actor=actor, message=freeze_id)
        events.append(tx, [line])
        waiting = operations.held_by(tx, "freeze")
        operations.wake(tx, [operation.id for operation in waiting], now)
    for operation in waiting:
        nudge(world, operation.id)
    return freeze_id


def _standing(tx: Connection, prefix: str, now: float) -> str:
    if len(prefix) < _LEAST_PREFIX:
        raise NotFound(f"{prefix!r} is too short for an id; write at least its first {_LEAST_PREFIX} characters")
    found = [one.id for one in holds.active_freezes(tx, now) if one.id.startswith(prefix.lower())]
    if len(found) > 1:
        raise Conflict(f"several freezes begin with {prefix}: {', '.join(found)}. Write more of the id.")
    if not found:
        raise _no_freeze(prefix)
    return found[0]


def _no_freeze(freeze_id: str) -> NotFound:
    return NotFound(f"no freeze {freeze_id[:80]!r} stands; `opsqueue freeze list` shows those that do")


_LEAST_PREFIX = 4


def _note(tx: Connection, operation: Operation, now: float, kind: str, actor: str, message: str) -> None:
    line = Event(operation_id=operation.id, at=now, kind=kind, stage=operation.stage, actor=actor, message=message)
    events.append(tx, [line])

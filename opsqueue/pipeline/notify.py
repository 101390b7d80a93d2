"""Stage six: tell people, and let the operation out only when they were told."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from opsqueue.gates import AT_EXIT, ask, combined
from opsqueue.model.names import Stage
from opsqueue.model.record import Delivery, Event, Operation, Target
from opsqueue.model.verdict import Hold, Pass
from opsqueue.notify.channels import LOG
from opsqueue.notify.message import Message, compose
from opsqueue.pipeline.breaker import guarded
from opsqueue.pipeline.evidence import gather, recorded
from opsqueue.pipeline.move import InTransaction, Known, Move
from opsqueue.pipeline.postbox import after, begin, begun, ended, key_of, next_hops
from opsqueue.pipeline.world import World
from opsqueue.store import deliveries as store_deliveries
from opsqueue.store import events, holds, operations
from opsqueue.store.engine import Connection

_EVENT = "ended"
_TRYING = frozenset({"queued", "failed", "sending"})
_TOLD = frozenset({"accepted", "suppressed"})
_PATIENCE = 1.0
"""Seconds that a channel is waited for before the next one is told beside it."""
_SIDE_BY_SIDE = 16


def notify(world: World, operation: Operation, known: Known = None) -> Move | InTransaction:
    """Send what was not delivered yet, then ask the exit gate."""
    targets = world.targets(operation, known)
    with world.store.read() as connection:
        outbox = store_deliveries.of(connection, operation.id)
        acknowledged = bool(operation.cancel_asked) and _asked_here(connection, operation)
    if acknowledged and operation.outcome is not None and outbox:
        return lambda tx: _acknowledged(tx, operation, outbox, world.now())
    if not outbox:
        outbox = _fill_outbox(world, operation)
        _write_down(world, operation, outbox)
    sent = _send_all(world, operation, compose(operation, targets), outbox)
    return lambda tx: _exit(tx, world, operation, targets, sent)


def _asked_here(connection: Connection, operation: Operation) -> bool:
    # A cancel of the work, asked for earlier, says nothing of messages and hosts that nobody had seen then.
    lines = events.of(connection, operation.id)
    return any(line.kind == "cancel_asked" and line.stage == Stage.NOTIFY for line in lines)


def _write_down(world: World, operation: Operation, outbox: tuple[Delivery, ...]) -> None:
    """All channels before the first is told: a crash after one must not forget the others."""
    if len(outbox) > 1:
        with world.store.begin() as tx:
            operations.renew(tx, operation, world.now() + world.settings.worker.lease_seconds)
            store_deliveries.add(tx, outbox)


def _fill_outbox(world: World, operation: Operation) -> tuple[Delivery, ...]:
    channels = operation.channels if operation.channels is not None else world.settings.default_channels
    return tuple(
        Delivery(operation_id=operation.id, event=_EVENT, channel=channel)
        for name in dict.fromkeys(channels or ("log",))
        for channel in world.recipients(name)
    )


def _send_all(
    world: World, operation: Operation, message: Message, outbox: tuple[Delivery, ...]
) -> tuple[Delivery, ...]:
    """Each delivery after its try, and those that take the place of what was given up."""
    sent = _send_each(world, operation, message, outbox)
    while hops := next_hops(world, tuple(sent.values())):
        _lead_down(world, operation, hops)
        sent.update(_send_each(world, operation, message, hops))
    return tuple(sent.values())


def _send_each(world: World, operation: Operation, message: Message, rows: tuple[Delivery, ...]) -> dict[str, Delivery]:
    """Each in its turn, by channel; one that does not answer soon keeps the next ones waiting no longer."""
    if len(rows) == 1:  # the most, and a thread costs something
        return {row.channel: _send(world, operation, message, row) for row in rows}
    with ThreadPoolExecutor(min(len(rows), _SIDE_BY_SIDE), thread_name_prefix="notify") as pool:
        tries = {}
        for row in rows:
            tries[row.channel] = pool.submit(_send, world, operation, message, row)
            with suppress(TimeoutError):
                tries[row.channel].result(_PATIENCE)
        return {channel: one.result() for channel, one in tries.items()}


def _lead_down(world: World, operation: Operation, hops: tuple[Delivery, ...]) -> None:
    with world.store.begin() as tx:
        operations.renew(tx, operation, world.now() + world.settings.worker.lease_seconds)
        for row in hops:
            store_deliveries.save(tx, row)


def _send(world: World, operation: Operation, message: Message, delivery: Delivery) -> Delivery:
    if delivery.status not in _TRYING or delivery.next_at > world.now():
        return delivery
    if delivery.channel == LOG:  # it is written at the exit: a line that stands there twice harms nobody
        attempt = replace(delivery, status="sending", attempts=delivery.attempts + 1)
        return after(attempt, world.tell(LOG, message, key_of(delivery)), world.now())
    attempt = _noted(world, operation, delivery, message)
    if attempt.status != "sending":
        return attempt
    receipt = world.tell(delivery.channel, message, key_of(delivery))
    with world.store.begin() as tx:  # at once: a crash with the next channel must not have this one told again
        operations.renew(tx, operation, world.now() + world.settings.worker.lease_seconds)
        done = after(attempt, receipt, world.now())
        store_deliveries.save(tx, done)
        ended(tx, world, done)
    return done


def _noted(world: World, operation: Operation, delivery: Delivery, message: Message) -> Delivery:
    """The try, written before it is made: a crash leaves a trace of it; or the delivery as it waits."""
    with world.store.begin() as tx:
        operations.renew(tx, operation, world.now() + world.settings.worker.lease_seconds)
        attempt = guarded(tx, world, delivery, begin(tx, world, delivery, message))
        store_deliveries.save(tx, attempt)
        begun(tx, world, attempt, message)
        ended(tx, world, attempt)  # it may have been given up with what another try met
    return attempt


def _exit(
    tx: Connection, world: World, operation: Operation, targets: tuple[Target, ...], outbox: tuple[Delivery, ...]
) -> Move:
    verdicts = ask(AT_EXIT, gather(world, tx, operation, targets, outbox))
    verdict = combined(verdicts)
    judged = replace(operation, verdicts=(*_other_gates(operation), *recorded(verdicts)))
    if isinstance(verdict, Pass):
        told = ", ".join(_told(delivery) for delivery in outbox)
        return Move(
            operation=judged,
            to=Stage.CLOSED,
            result="delivered",
            why=f"told: {told}",
            write=lambda tx: _keep(tx, outbox),
        )
    until = verdict.until if isinstance(verdict, Hold) else None
    held = replace(judged, hold=("delivery",), attempts=0)
    return Move(
        operation=held,
        to=Stage.NOTIFY,
        result="held",
        why=verdict.why,
        due_at=until,
        write=lambda tx: _keep(tx, outbox),
    )


def _other_gates(operation: Operation) -> tuple[Mapping[str, Any], ...]:
    return tuple(verdict for verdict in operation.verdicts if verdict["gate"] != "delivery")


def _keep(tx: Connection, outbox: tuple[Delivery, ...]) -> None:
    """The log's; every other was written when it was tried, and may have been told with others since."""
    for delivery in outbox:
        if delivery.channel == LOG:
            store_deliveries.save(tx, delivery)


def _told(delivery: Delivery) -> str:
    return f"{delivery.channel} (given up, {delivery.fallback} instead)" if delivery.fallback else delivery.channel


def _acknowledged(tx: Connection, operation: Operation, outbox: tuple[Delivery, ...], now: float) -> Move:
    """A person who was not reached, or who had to look, says that they know."""
    known = [replace(d, status="acknowledged", at=now) for d in outbox if d.status not in _TOLD]
    for delivery in known:
        store_deliveries.save(tx, delivery)
    holds.release(tx, operation.id)
    line = Event(
        operation_id=operation.id,
        at=now,
        kind="acknowledged",
        stage=Stage.NOTIFY,
        actor=operation.cancel_asked,
        message=f"closed by a person: {operation.cancel_asked}",
    )
    events.append(tx, [line])
    return Move(operation=operation, to=Stage.CLOSED, result="acknowledged", why=operation.cancel_asked)

"""Stage six: tell people, and let the operation out only when they were told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opsqueue.gates import AT_EXIT, ask, combined
from opsqueue.model.names import Stage
from opsqueue.model.record import Delivery, Event, Operation, Target
from opsqueue.model.verdict import Hold, Pass
from opsqueue.notify.message import compose
from opsqueue.notify.receipt import MOST_ATTEMPTS, Receipt, retry_after
from opsqueue.pipeline.evidence import gather, recorded
from opsqueue.pipeline.move import InTransaction, Known, Move
from opsqueue.pipeline.world import World
from opsqueue.store import deliveries as store_deliveries
from opsqueue.store import events, holds, operations
from opsqueue.store.engine import Connection

_EVENT = "ended"


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
    sent = tuple(_send(world, operation, targets, delivery) for delivery in outbox)
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


def _send(world: World, operation: Operation, targets: tuple[Target, ...], delivery: Delivery) -> Delivery:
    now = world.now()
    if delivery.status not in {"queued", "failed", "sending"} or delivery.next_at > now:
        return delivery
    attempt = replace(delivery, status="sending", attempts=delivery.attempts + 1)
    if delivery.channel != "log":  # written before it is sent: a crash leaves a trace of the try
        with world.store.begin() as tx:
            operations.renew(tx, operation, now + world.settings.worker.lease_seconds)
            store_deliveries.save(tx, attempt)
    event_id = f"{operation.id}:{delivery.event}:{delivery.channel}"
    receipt = world.tell(delivery.channel, compose(operation, targets), event_id)
    return _after(attempt, receipt, world.now(), event_id)


def _after(delivery: Delivery, receipt: Receipt, now: float, event_id: str) -> Delivery:
    if receipt.status == "accepted":
        return replace(delivery, status="accepted", at=now, error="")
    if receipt.permanent or delivery.attempts >= MOST_ATTEMPTS:
        return replace(delivery, status="dead", at=now, error=receipt.error)
    due = now + max(retry_after(delivery.attempts, event_id), receipt.wait)
    return replace(delivery, status="failed", at=now, error=receipt.error, next_at=due)


def _exit(
    tx: Connection, world: World, operation: Operation, targets: tuple[Target, ...], outbox: tuple[Delivery, ...]
) -> Move:
    verdicts = ask(AT_EXIT, gather(world, tx, operation, targets, outbox))
    verdict = combined(verdicts)
    judged = replace(operation, verdicts=(*_other_gates(operation), *recorded(verdicts)))
    if isinstance(verdict, Pass):
        told = ", ".join(delivery.channel for delivery in outbox)
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
    for delivery in outbox:
        store_deliveries.save(tx, delivery)


def _acknowledged(tx: Connection, operation: Operation, outbox: tuple[Delivery, ...], now: float) -> Move:
    """A person who was not reached, or who had to look, says that they know."""
    known = [replace(d, status="acknowledged", at=now) for d in outbox if d.status != "accepted"]
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

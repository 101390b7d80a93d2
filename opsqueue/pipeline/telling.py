"""Messages that belong to no operation: alerts, and that a channel does not work.

`enqueue` writes a message into the outbox in the caller's own transaction: both are there, or neither. `send_due`
sends what is due. Each try is written before it is made, and the event goes with it as idempotency key: who is killed
before the receiver took a message loses nothing, who is killed after it has the same event sent once more.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from opsqueue.model.names import Severity
from opsqueue.model.record import Delivery
from opsqueue.notify.message import Message
from opsqueue.notify.receipt import MOST_ATTEMPTS, Receipt, retry_after
from opsqueue.pipeline.world import World
from opsqueue.store import holds, tellings
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.telling")
_LEASE = 5.0
_TRY = 60.0
"""Seconds after which a try that nobody ended is made again; longer than any may last."""
_BATCH = 100
_SIDE_BY_SIDE = 8


def enqueue(
    tx: Connection, world: World, message: Message, *, event_id: str, channels: Sequence[str], at: float | None = None
) -> bool:
    """Have a message told to each recipient of these channels, once; the caller's transaction makes it so.

    The same `event_id` again changes nothing, and returns False. `at`: not before then, UNIX seconds; None: at once.
    No channels: those of the setting `default_channels`.
    """
    now = world.now()
    names = dict.fromkeys(channels or world.settings.default_channels or ("log",))
    recipients = dict.fromkeys(recipient for name in names for recipient in world.recipients(name))
    row = {
        "event": event_id,
        "title": message.title,
        "body": message.body,
        "short": message.short,
        "severity": message.severity.value,
        "payload": message.payload,
        "alike": message.alike,
        "at": now if message.at is None else message.at,
        "created_at": now,
    }
    deliveries = [
        Delivery(operation_id="", event=event_id, channel=recipient, next_at=now if at is None else at)
        for recipient in recipients
    ]
    return tellings.add(tx, row, deliveries)


def send_due(world: World) -> int:
    """Send what is due, if it is our turn; returns how many tries were made.

    Recipients are told side by side, so that one that does not answer holds up nobody else.
    """
    now = world.now()
    with world.store.begin(lasting=False) as tx:
        if not holds.take_lease(tx, "telling", holder=world.worker, now=now, until=now + _LEASE):
            return 0
        due = tellings.due(tx, now, _BATCH)
    by_channel: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in due:
        by_channel[delivery.channel].append(delivery)
    if not by_channel:
        return 0
    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(by_channel)), thread_name_prefix="telling") as pool:
        return sum(pool.map(lambda ours: sum(_send(world, one) for one in ours), by_channel.values()))


def _send(world: World, delivery: Delivery) -> bool:
    """One try; False when somebody else made it."""
    now = world.now()
    attempt = replace(delivery, status="sending", attempts=delivery.attempts + 1, next_at=now + _TRY)
    with world.store.begin() as tx:
        if not tellings.save(tx, attempt, seen=delivery.attempts):
            return False
        message = _message(tx, delivery.event)
    event_id = f"{delivery.event}:{delivery.channel}"
    receipt = world.tell(delivery.channel, message, event_id)
    with world.store.begin() as tx:
        tellings.save(tx, _after(attempt, receipt, world.now(), event_id), seen=attempt.attempts)
    return True


def _after(delivery: Delivery, receipt: Receipt, now: float, event_id: str) -> Delivery:
    if receipt.status == "accepted":
        return replace(delivery, status="accepted", at=now, error="")
    if receipt.permanent or delivery.attempts >= MOST_ATTEMPTS:
        _log.error("FAILED to tell %s of %s: %s", delivery.channel, delivery.event, receipt.error)
        return replace(delivery, status="dead", at=now, error=receipt.error)
    due = now + max(retry_after(delivery.attempts, event_id), receipt.wait)
    return replace(delivery, status="failed", at=now, error=receipt.error, next_at=due)


def _message(connection: Connection, event: str) -> Message:
    kept = tellings.message(connection, event)
    return Message(
        title=kept["title"],
        body=kept["body"],
        severity=Severity(kept["severity"]),
        payload=kept["payload"],
        short=kept["short"],
        at=kept["at"],
        alike=kept["alike"],
    )

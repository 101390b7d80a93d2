"""Messages that belong to no operation: alerts, summaries, and that a channel does not work.

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
from opsqueue.notify.policy import SUMMARY
from opsqueue.notify.text import one_line
from opsqueue.pipeline.postbox import begin, ended, key_of, next_hops, row_of
from opsqueue.pipeline.summary import form_summaries, summary_ended
from opsqueue.pipeline.world import World
from opsqueue.store import holds, sends, tellings
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.telling")
_LEASE = 5.0
_BATCH = 100
_SIDE_BY_SIDE = 8
_LONGEST_EVENT = 500


def enqueue(
    tx: Connection, world: World, message: Message, *, event_id: str, channels: Sequence[str], at: float | None = None
) -> bool:
    """Have a message told to each recipient of these channels, once; the caller's transaction makes it so.

    The same `event_id` again changes nothing, and returns False. `at`: not before then, UNIX seconds; None: at once.
    No channels: those of the setting `default_channels`.
    """
    now, event = world.now(), one_line(event_id, _LONGEST_EVENT)
    names = dict.fromkeys(channels or world.settings.default_channels or ("log",))
    recipients = dict.fromkeys(recipient for name in names for recipient in world.recipients(name))
    first = now if at is None else at
    told = [Delivery(operation_id="", event=event, channel=recipient, next_at=first) for recipient in recipients]
    return tellings.add(tx, row_of(message, event, now), told)


def send_due(world: World) -> int:
    """Send what is due, if it is our turn; returns how many deliveries were looked at.

    Recipients are told side by side, so that one that does not answer holds up nobody else.
    """
    now = world.now()
    with world.store.read() as connection:  # most of the time there is nothing, and a lease costs a write
        if not tellings.due(connection, now, 1) and not tellings.summaries_due(connection, now):
            return 0
    with world.store.begin(lasting=False) as tx:
        if not holds.take_lease(tx, "telling", holder=world.worker, now=now, until=now + _LEASE):
            return 0
    form_summaries(world)
    with world.store.read() as connection:
        due = tellings.due(connection, now, _BATCH)
    by_channel: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in due:
        by_channel[delivery.channel].append(delivery)
    if not by_channel:
        return 0
    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(by_channel)), thread_name_prefix="telling") as pool:
        return sum(pool.map(lambda ours: sum(_send(world, one) for one in ours), by_channel.values()))


def message_of(connection: Connection, event: str) -> Message:
    """A message as it was written down."""
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


def _send(world: World, delivery: Delivery) -> bool:
    """One try, or one look at why it waits; False when somebody else made it."""
    with world.store.begin() as tx:
        message = message_of(tx, delivery.event)
        attempt = begin(tx, world, delivery, message)
        if attempt.status == "sending":  # a try that nobody ends is made again when its lease has lapsed
            attempt = replace(attempt, next_at=world.now() + world.settings.worker.lease_seconds)
        if not tellings.save(tx, attempt, seen=delivery.attempts):
            return False
    if attempt.status == "sending":
        with world.heart.beating(lambda: _stretch(world, attempt), world.settings.worker.lease_seconds / 3):
            receipt = world.tell(delivery.channel, message, key_of(delivery))
        with world.store.begin() as tx:
            sends.lock(tx, delivery.event)  # two who end together must see each other
            done = ended(tx, world, attempt, receipt)
            if tellings.save(tx, done, seen=attempt.attempts):
                _settled(tx, world, done.event)
        _log.info("%s of %s: %s", done.channel, done.event, done.error or done.status)
    return True


def _stretch(world: World, attempt: Delivery) -> None:
    with world.store.begin(lasting=False) as tx:
        tellings.stretch(tx, attempt, world.now() + world.settings.worker.lease_seconds)


def _settled(tx: Connection, world: World, event: str) -> None:
    """Down to the next channel where one was given up; a summary's members are told with it."""
    outbox = tellings.of(tx, event)
    for row in (new := next_hops(world, outbox)):
        tellings.lead_down(tx, row)
    if event.startswith(SUMMARY):
        summary_ended(tx, world, event, tellings.of(tx, event) if new else outbox)

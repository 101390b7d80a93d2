"""Messages that belong to no operation: alerts, summaries, and that a channel does not work.

`enqueue` writes a message into the outbox in the caller's own transaction: both are there, or neither. `send_due`
sends what is due. Each try is written before it is made, and the event goes with it as idempotency key: who is killed
before the receiver took a message loses nothing, who is killed after it has the same event sent once more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from opsqueue.model.names import Severity
from opsqueue.model.record import Delivery
from opsqueue.notify.alert_message import GROUP
from opsqueue.notify.message import Message
from opsqueue.notify.policy import SUMMARY
from opsqueue.notify.text import one_line
from opsqueue.pipeline.postbox import after, begin, begun, ended, key_of, next_hops, row_of
from opsqueue.pipeline.summary import form_summaries, summary_ended
from opsqueue.pipeline.world import World
from opsqueue.store import holds, sends, tellings
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.telling")
_LEASE = 5.0
_BATCH = 20
"""Of one recipient in one turn."""
_SIDE_BY_SIDE = 16
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
    """Send what is due, if it is our turn, recipients side by side; returns how many tries were made."""
    who = due_recipients(world)
    if not who:
        return 0
    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="telling") as pool:
        return sum(pool.map(lambda one: tell_recipient(world, one), who))


def due_recipients(world: World) -> tuple[str, ...]:
    """Who is to be told something now; nobody, when it is the turn of another worker. Writes summaries that are due."""
    now = world.now()
    with world.store.read() as connection:  # most of the time there is nothing, and a lease costs a write
        if not tellings.due_recipients(connection, now) and not tellings.summaries_due(connection, now):
            return ()
    with world.store.begin(lasting=False) as tx:
        far = now + 2 * _LEASE
        if not holds.take_lease(tx, "telling", holder=world.worker, now=now, until=now + _LEASE, far=far):
            return ()
    form_summaries(world)
    with world.store.read() as connection:
        return tellings.due_recipients(connection, now)


def tell_recipient(world: World, recipient: str) -> int:
    """Send what is due to this one, in order, until a try fails: what is left is due at the next turn."""
    with world.store.read() as connection:
        due = tellings.due(connection, recipient, world.now(), _BATCH)
    tries = 0
    for delivery in due:
        done = _send(world, delivery)
        tries += done is not None
        if done is not None and done.status == "failed":
            break
    return tries


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


def _send(world: World, delivery: Delivery) -> Delivery | None:
    """The delivery after a try, or after a look at why it waits; None when somebody else made the try."""
    with world.store.begin() as tx:
        message = message_of(tx, delivery.event)
        attempt = _old_news(tx, world, delivery, message) or begin(tx, world, delivery, message)
        if attempt.status == "sending":  # a try that nobody ends is made again when its lease has lapsed
            attempt = replace(attempt, next_at=world.now() + world.settings.worker.lease_seconds)
        if not tellings.save(tx, attempt, seen=delivery.attempts):
            return None
        begun(tx, world, attempt, message)
        if attempt.status == "suppressed":
            sends.lock(tx, attempt.event)
            _lead_on(tx, world, attempt.event)
    if attempt.status != "sending":
        return attempt
    with world.heart.beating(lambda: _stretch(world, attempt), world.settings.worker.lease_seconds / 3):
        receipt = world.tell(delivery.channel, message, key_of(delivery))
    return _write_down(world, after(attempt, receipt, world.now()))


def _old_news(tx: Connection, world: World, delivery: Delivery, message: Message) -> Delivery | None:
    """The delivery, not to be told any more where a later message of its group says how all its alerts stand."""
    group, _, number = delivery.event.rpartition(":")
    if message.payload.get("event") != GROUP or not number.isdigit():
        return None
    mine, whole = _named(message.payload), len(message.payload["alerts"]) == message.payload["alerts_total"]
    for event, payload in tellings.beside(tx, f"{group}:", delivery.channel) if whole else ():
        later = event.rpartition(":")[2]
        if later.isdigit() and int(later) > int(number) and mine <= _named(payload):
            note = f"{event} has later news of the same"
            return replace(delivery, status="suppressed", at=world.now(), note=note)
    return None


def _named(payload: Mapping[str, Any]) -> set[str]:
    return {str(one["fingerprint"]) for one in payload.get("alerts", ())}


def _write_down(world: World, done: Delivery) -> Delivery | None:
    with world.store.begin() as tx:
        sends.lock(tx, done.event)  # two who end together must see each other
        if not tellings.save(tx, done, seen=done.attempts):
            return None
        ended(tx, world, done)
        _lead_on(tx, world, done.event)
    _log.info("%s of %s: %s", done.channel, done.event, done.error or done.status)
    return done


def _stretch(world: World, attempt: Delivery) -> None:
    with world.store.begin(lasting=False) as tx:
        tellings.stretch(tx, attempt, world.now() + world.settings.worker.lease_seconds)


def _lead_on(tx: Connection, world: World, event: str) -> None:
    """Down to the next channel where one was given up; a summary's members are told with it."""
    outbox = tellings.of(tx, event)
    for row in (new := next_hops(world, outbox)):
        tellings.lead_down(tx, row)
    if event.startswith(SUMMARY):
        summary_ended(tx, world, event, tellings.of(tx, event) if new else outbox)

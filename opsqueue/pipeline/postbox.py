"""One try of one delivery, whether of an operation or of a message without one: what is written before, and after."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from opsqueue.model.names import Severity
from opsqueue.model.record import LESS, Delivery
from opsqueue.notify.channels import LOG
from opsqueue.notify.message import Message
from opsqueue.notify.policy import Before, content, decided
from opsqueue.notify.receipt import MOST_ATTEMPTS, Receipt, retry_after
from opsqueue.notify.text import one_line
from opsqueue.pipeline.fallback import hops
from opsqueue.pipeline.world import World
from opsqueue.settings_channels import ChannelRules
from opsqueue.store import sends, tellings
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.postbox")
FAILED = "channel-failed:"
"""How the events begin that tell of a channel which does not work; when they fail, nobody is told of that."""
_MINUTE = 60.0
_AHEAD = 120.0
"""Seconds by which clocks of the cluster may differ; what was sent later than that was so before ours was set back."""
_KEEP = 86_400.0
"""Seconds for which what was sent is remembered, where no rule looks further back."""


def event_of(delivery: Delivery) -> str:
    """The name of what is told, the same for all recipients."""
    return f"{delivery.operation_id}:{delivery.event}" if delivery.operation_id else delivery.event


def key_of(delivery: Delivery) -> str:
    """The idempotency key that goes with each try to tell this recipient."""
    return f"{event_of(delivery)}:{delivery.channel}"


def begin(tx: Connection, world: World, delivery: Delivery, message: Message) -> Delivery:
    """The delivery as it is to be tried now (`sending`), or as it has to wait; the caller writes it down."""
    now, rules = world.now(), world.settings.rules(delivery.channel)
    before = _before(tx, rules, delivery, content(message), now) if rules.count else Before()
    return decided(delivery, message, rules, timezone=world.settings.timezone, before=before, now=now)


def begun(tx: Connection, world: World, attempt: Delivery, message: Message) -> None:
    """What else is to be written once a try has been written down."""
    if attempt.status == "sending" and attempt.channel != LOG:
        sends.note(tx, attempt.channel, event_of(attempt), at=world.now(), content=content(message))


def ended(tx: Connection, world: World, done: Delivery) -> None:
    """What else is to be written once it is written what came of it: one that was given up is told of elsewhere."""
    if done.status == "accepted" and done.channel != LOG:
        sends.accepted(tx, done.channel, event_of(done), at=world.now())
    if done.status == "dead":
        _tell_of_failure(tx, world, done)


def after(attempt: Delivery, receipt: Receipt, now: float) -> Delivery:
    """How a delivery stands after a try."""
    attempt = replace(attempt, note=noted(attempt.note, receipt.note))
    if receipt.status == "accepted":
        return replace(attempt, status="accepted", at=now, error="")
    if receipt.permanent or attempt.attempts >= MOST_ATTEMPTS:
        return replace(attempt, status="dead", at=now, error=receipt.error)
    due = now + max(retry_after(attempt.attempts, key_of(attempt)), receipt.wait)
    return replace(attempt, status="failed", at=now, error=receipt.error, next_at=due)


def noted(note: str, new: str) -> str:
    """A note, and what is missing in what was sent now; what was missing at an earlier try is not told any more."""
    before = note.partition(LESS)[0].removesuffix("; ")
    return "; ".join(filter(None, (before, new)))


def next_hops(world: World, outbox: Sequence[Delivery]) -> tuple[Delivery, ...]:
    """What is new in the deliveries of one event because a channel was given up; empty when nothing is."""
    fallback = lambda channel: world.settings.rules(channel).fallback  # noqa: E731 - said once
    return hops(outbox, fallback, world.recipients, world.now())


def keep_for(world: World) -> float:
    """Seconds for which what was sent has to be remembered."""
    rules = world.settings.notification_rules.values()
    return max([_KEEP, *(max(one.same_within, one.digest_minutes * _MINUTE) for one in rules)])


def row_of(message: Message, event: str, now: float) -> dict[str, object]:
    """A message as the outbox keeps it."""
    return {
        "event": event,
        "title": message.title,
        "body": message.body,
        "short": message.short,
        "severity": message.severity.value,
        "payload": message.payload,
        "alike": message.alike,
        "at": now if message.at is None else message.at,
        "created_at": now,
    }


def _before(tx: Connection, rules: ChannelRules, delivery: Delivery, said: str, now: float) -> Before:
    channel, event = delivery.channel, event_of(delivery)
    sends.lock(tx, channel)
    longest = max(_MINUTE, rules.digest_minutes * _MINUTE if rules.digest_above else 0.0)
    end, same = now + _AHEAD, rules.same_within
    return Before(
        sent=sends.since(tx, channel, now - longest, until=end, besides=event),
        same=sends.same(tx, channel, said, now - same, until=end, besides=event) if same else None,
        summary_at=tellings.summary_due(tx, channel) if rules.digest_above else None,
    )


def _tell_of_failure(tx: Connection, world: World, dead: Delivery) -> None:
    """Once for each time that a channel goes from working to not working, and never about such a message."""
    _log.error("FAILED to tell %s of %s: %s", dead.channel, event_of(dead), dead.error)
    if dead.event.startswith(FAILED):
        return
    now, own = world.now(), dead.channel.partition("#")[0]
    names = (*world.settings.rules(dead.channel).fallback, *world.settings.default_channels, LOG)
    other = next((name for name in names if name != own), LOG)
    event = f"{FAILED}{dead.channel}:{sends.last_accepted(tx, dead.channel):.0f}"
    rows = [Delivery(operation_id="", event=event, channel=who, next_at=now) for who in world.recipients(other)]
    tellings.add(tx, row_of(_failure(dead, now), event, now), rows)


def _failure(dead: Delivery, now: float) -> Message:
    channel, tried = one_line(dead.channel, 100), f"{dead.attempts} attempt{'' if dead.attempts == 1 else 's'}"
    title = f"[opsqueue] the channel {channel} does not work"
    body = (
        f"{title}\nIt was given up after {tried}: {one_line(dead.error, 400)}\nIt was to tell: {event_of(dead)}\n"
        f"You are told once, until it works again.\n\nMore: opsqueue notify test {channel}"
    )
    payload = {
        "event": "channel.failed",
        "channel": dead.channel,
        "error": dead.error,
        "attempts": dead.attempts,
        "severity": Severity.WARNING.value,
    }
    short = f"opsqueue: the channel {one_line(channel, 60)} does not work. opsqueue notify test"
    return Message(title=title, body=body, severity=Severity.WARNING, payload=payload, short=short, at=now)

"""A channel that hangs holds up what is told to it, and no other work.

A try that gets no answer keeps its process for `LONGEST_TRY` seconds. So who would be next looks into the record first:

- While another message to the same recipient has been on its way for some seconds, it waits outside.
- After one has hung, all others rest for about a minute, and then one of them looks whether it works again.

That one hung is a failed try for each that was due meanwhile: so all are given up, and go down to the next channel, as
soon as if each had hung itself. Whatever the channel accepts makes all this void.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from opsqueue.model.record import BUSY, Delivery
from opsqueue.notify.receipt import LONGEST_TRY, refused, retry_after
from opsqueue.pipeline.postbox import after, event_of, key_of
from opsqueue.pipeline.world import World
from opsqueue.store import deliveries, sends, tellings
from opsqueue.store.engine import Connection

_SLOW = 3.0
"""Seconds after which a try without an answer is one that hangs."""
_STALE = LONGEST_TRY + 5.0
"""Seconds after which a try that nobody ended is that of a worker that died."""
_AGAIN, _REST = 1, 3
"""How long it waits, as after so many failed tries: some 5 s, and a minute."""
_MOST_AGAIN = 6.0
"""Seconds; the longest of the former."""
_BEHIND = 120.0
"""Seconds that are looked back; longer than a try and the rest after it."""


@dataclass(frozen=True, slots=True)
class _Try:
    """The last try of another message to the same recipient."""

    began: float
    of: Delivery

    @property
    def hung(self) -> float:
        """When it ended that had hung; 0: it had not, or not yet."""
        failed = self.of.status in {"failed", "dead"} and not self.of.error.startswith(BUSY)
        return self.of.at if failed and self.of.at is not None and self.of.at - self.began >= _SLOW else 0.0

    def on_way(self, now: float, *, alone: bool) -> bool:
        """Whether others wait for its end: it takes long, or looks whether a channel works again that failed before."""
        patience = 0.0 if alone or self.of.attempts > 1 else _SLOW
        return self.of.status == "sending" and patience <= now - self.began < _STALE


def guarded(tx: Connection, world: World, delivery: Delivery, attempt: Delivery) -> Delivery:
    """The attempt that is about to be made of this delivery, or the delivery as it waits for its channel to answer."""
    if attempt.status != "sending":
        return attempt
    tries = _others(tx, world, delivery)
    if any(one.hung for one in tries):  # only one at a time is to look whether it works again
        sends.lock(tx, delivery.channel)
        tries = _others(tx, world, delivery)
    return _waits(delivery, tries, world.now()) or replace(attempt, note=_rested(attempt.note))


def _others(tx: Connection, world: World, delivery: Delivery) -> tuple[_Try, ...]:
    now, channel = world.now(), delivery.channel
    began = sends.untaken(tx, channel, after=now - _BEHIND, until=now, besides=event_of(delivery))
    if not began:
        return ()
    of_operations = deliveries.to(tx, channel, {event.partition(":")[0] for event in began})
    found = (*of_operations, *tellings.to(tx, channel, began.keys()))
    return tuple(_Try(began[event_of(row)], row) for row in found if event_of(row) in began)


def _waits(delivery: Delivery, tries: Iterable[_Try], now: float) -> Delivery | None:
    """The delivery as it waits; None: it may be tried."""
    hung = max((one for one in tries if 0 < one.hung <= now), key=lambda one: one.hung, default=None)
    rests_until = hung.hung + retry_after(_REST, key_of(delivery)) if hung else now
    if hung and rests_until > now:
        return _rests(delivery, hung, rests_until, now)
    took = max((now - one.began for one in tries if one.on_way(now, alone=hung is not None)), default=None)
    if took is None:
        return None
    ends = max(now, now - took + LONGEST_TRY) if hung else now  # nobody believes that it is answered before
    again = ends + retry_after(_AGAIN, f"{key_of(delivery)}:{now}")
    return _later(delivery, again, f"{BUSY} has been on its way for {took:.0f} s")


def _rests(delivery: Delivery, hung: _Try, until: float, now: float) -> Delivery:
    was_due = 0 < delivery.next_at <= hung.hung + _MOST_AGAIN  # or stood outside, for as long as that
    if not was_due or (delivery.at or 0.0) > hung.began:  # it has counted that time already
        return _later(delivery, until, f"{BUSY} got no answer {now - hung.hung:.0f} s ago")
    attempt = replace(delivery, attempts=delivery.attempts + 1, note=_rested(delivery.note))
    counted = after(attempt, refused(f"{BUSY} failed: {hung.of.error}"), hung.hung)
    return replace(counted, next_at=max(counted.next_at, until))


def _later(delivery: Delivery, until: float, why: str) -> Delivery:
    note = "; ".join(filter(None, (_rested(delivery.note), why)))
    return replace(delivery, status="failed" if delivery.attempts else "queued", next_at=until, note=note)


def _rested(note: str) -> str:
    """What else a note says."""
    return note.partition(BUSY)[0].removesuffix("; ")

"""What the record of deliveries says of each recipient: how much arrives, how soon, after how many tries."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from opsqueue.model.record import WAITING, Told

ALL = "all"
DEFINITIONS: Mapping[str, str] = {
    "told": "deliveries that were written down in this time, by how they stand now (docs/notifications.md)",
    "accepted_percent": "accepted / (accepted + given up); what waits or was suppressed is in neither",
    "latency": (
        "seconds from when the message was written down, or the work of the operation was over, until the next hop "
        "took it, tries and fallbacks and all; without what waited on purpose (quiet hours, limits, summaries)"
    ),
    "retries": "tries beyond the first of each delivery that was tried",
    "fallbacks": "deliveries that were given up and went down to another channel",
    "waiting": "deliveries that wait now, whenever they were written down, and seconds since the oldest of them was",
}
"""Each figure with the sentence that says what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of so many accepted deliveries; seconds, None where there are none."""

    count: int = 0
    mean: float | None = None
    median: float | None = None
    p90: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The figures of one recipient, or of all together."""

    recipient: str
    told: int
    by_status: Mapping[str, int]
    accepted_percent: float | None
    """None: nothing was accepted or given up."""
    settled: int
    """Accepted or given up: what the percentage is of."""
    latency: Latency
    held: int
    """Waited on purpose; in no latency."""
    tried: int
    retries: int | None
    """None: nothing was tried."""
    fallbacks: int
    waiting: int
    oldest_waiting_s: float | None
    last_error: str | None
    """Of the newest try that failed."""


def reckon(rows: Iterable[Told], *, since: float, now: float) -> tuple[Delivered, ...]:
    """All together first, then each recipient by name; nothing where nothing was told and nothing waits."""
    seen = [one for one in rows if one.written >= since or one.delivery.status in WAITING]
    if not seen:
        return ()
    of: dict[str, list[Told]] = {}
    for one in seen:
        of.setdefault(one.delivery.channel, []).append(one)
    return (_of(ALL, seen, since, now), *(_of(name, of[name], since, now) for name in sorted(of)))


def _of(name: str, seen: Sequence[Told], since: float, now: float) -> Delivered:
    told = [one for one in seen if one.written >= since]
    waiting = [one.written for one in seen if one.delivery.status in WAITING]
    states = Counter(one.delivery.status for one in told)
    tried = [one.delivery.attempts for one in told if one.delivery.attempts]
    settled = states["accepted"] + states["dead"]
    failed = [one.delivery for one in seen if one.delivery.error]
    return Delivered(
        recipient=name,
        told=len(told),
        by_status=dict(sorted(states.items())),
        accepted_percent=100 * states["accepted"] / settled if settled else None,
        settled=settled,
        latency=_latency(told),
        held=sum(one.delivery.held for one in told),
        tried=len(tried),
        retries=sum(number - 1 for number in tried) if tried else None,
        fallbacks=sum(one.delivery.status == "dead" and bool(one.delivery.fallback) for one in told),
        waiting=len(waiting),
        oldest_waiting_s=max(0.0, now - min(waiting)) if waiting else None,
        last_error=max(failed, key=lambda one: one.at or 0.0).error if failed else None,
    )


def _latency(told: Sequence[Told]) -> Latency:
    took = sorted(
        max(0.0, one.delivery.at - one.written)
        for one in told
        if one.delivery.status == "accepted" and one.delivery.at is not None and not one.delivery.held
    )
    if not took:
        return Latency()
    p90 = took[-(-len(took) * 9 // 10) - 1]
    return Latency(count=len(took), mean=statistics.fmean(took), median=statistics.median(took), p90=p90)

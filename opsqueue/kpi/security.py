"""Security events: what scans found, each thing once however often it is found again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opsqueue.model.names import Severity
from opsqueue.model.observed import Scan


@dataclass(slots=True)
class Event:
    """One thing that is not as it has to be, on one host. Times are UNIX seconds."""

    host: str
    fingerprint: str
    severity: Severity
    opened: float
    closed: float | None = None


def events(scans: Iterable[Scan]) -> tuple[Event, ...]:
    """All that was ever found, in the order of opening; what comes back after it was gone is another event.

    A thing is gone when a later scan of the same scope on the same host does not find it any more.
    """
    found: list[Event] = []
    standing: dict[tuple[str, str], dict[str, Event]] = {}
    for scan in sorted(scans, key=lambda one: (one.at, one.host, one.scope)):
        there = standing.setdefault((scan.host, scan.scope), {})
        for gone in there.keys() - scan.findings.keys():
            there.pop(gone).closed = scan.at
        for fingerprint, severity in sorted(scan.findings.items()):
            if fingerprint in there:
                there[fingerprint].severity = severity
            else:
                there[fingerprint] = Event(scan.host, fingerprint, severity, scan.at)
                found.append(there[fingerprint])
    return tuple(found)


def still_open(found: Iterable[Event], until: float) -> list[Event]:
    """What was there at this instant, each thing of a host once, by the scan that saw it first."""
    first: dict[tuple[str, str], Event] = {}
    for one in found:
        if one.opened < until and (one.closed is None or one.closed >= until):
            first.setdefault((one.host, one.fingerprint), one)
    return list(first.values())


def opened(found: Sequence[Event], since: float, until: float) -> list[Event]:
    """What began in this time, and no scan of another scope knew already."""
    fresh = ((one, alike[:place]) for alike in _things(found) for place, one in enumerate(alike))
    return [
        one
        for one, before in fresh
        if since <= one.opened < until and not any(_lasted(other, one.opened) for other in before)
    ]


def closed(found: Sequence[Event], since: float, until: float) -> list[Event]:
    """What ended in this time, and no scan of another scope still sees."""
    return [
        one
        for alike in _things(found)
        for place, one in enumerate(alike)
        if one.closed is not None and since <= one.closed < until and not _seen_on(alike, place, one.closed)
    ]


def _seen_on(alike: Sequence[Event], place: int, at: float) -> bool:
    later = any(other.opened <= at and other.closed == at for other in alike[place + 1 :])  # that one is counted
    return later or any(other.opened <= at and _lasts(other, at) for other in alike)


def _lasts(event: Event, at: float) -> bool:
    return event.closed is None or event.closed > at


def _lasted(event: Event, at: float) -> bool:
    return event.closed is None or event.closed >= at


def _things(found: Iterable[Event]) -> list[list[Event]]:
    """The events of each thing of a host, in the order of opening."""
    things: dict[tuple[str, str], list[Event]] = {}
    for one in found:
        things.setdefault((one.host, one.fingerprint), []).append(one)
    return list(things.values())

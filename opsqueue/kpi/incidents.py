"""Incidents: those of one host that overlap, or follow each other closely, are one; and how long things took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from opsqueue.kpi.spans import rank
from opsqueue.model.observed import Change, Incident

REOPENED_WITHIN = 600.0
"""Seconds after which a new failure is a new incident, and not the old one again."""
FOLLOWS_WITHIN = 3600.0
"""Seconds after a change in which an incident on the same host is laid to it."""
_HALF, _MOST = 50, 90


def merged(incidents: Iterable[Incident]) -> tuple[Incident, ...]:
    """Each time without a good answer once, in the order of their beginning: a union, whatever rules fired."""
    found: list[Incident] = []
    for one in sorted(incidents, key=lambda incident: (incident.host, incident.start, incident.id)):
        last = found[-1] if found else None
        if last is not None and last.host == one.host and _same(last, one):
            found[-1] = _joined(last, one)
        else:
            found.append(one)
    return tuple(sorted(found, key=lambda incident: (incident.start, incident.host)))


def _same(first: Incident, second: Incident) -> bool:
    return first.resolved is None or second.start <= first.resolved + REOPENED_WITHIN


def _joined(first: Incident, second: Incident) -> Incident:
    """Begun with the first of them, ended with the last; noticed when the first of them was."""
    still = first.resolved is None or second.resolved is None
    return replace(
        first,
        detected=_earliest(first.detected, second.detected),
        acknowledged=_earliest(first.acknowledged, second.acknowledged),
        resolved=None if still else max(first.resolved or 0.0, second.resolved or 0.0),
        severity=max(first.severity, second.severity, key=_WORSE.index),
        caused_by=first.caused_by or second.caused_by,
        remedied=_both(first.remedied, second.remedied),
    )


_WORSE = ("info", "warning", "critical")


def _earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _both(first: bool | None, second: bool | None) -> bool | None:
    known = [one for one in (first, second) if one is not None]
    return all(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Some durations in seconds, in rising order."""

    seconds: tuple[float, ...]

    @property
    def count(self) -> int:
        """How many."""
        return len(self.seconds)

    @property
    def mean(self) -> float | None:
        """None of none."""
        return sum(self.seconds) / len(self.seconds) if self.seconds else None

    @property
    def median(self) -> float | None:
        """The value that half of them do not exceed."""
        return rank(self.seconds, _HALF)

    @property
    def p90(self) -> float | None:
        """The value that nine of ten do not exceed."""
        return rank(self.seconds, _MOST)


Moment = Callable[[Incident], float | None]


def between(incidents: Iterable[Incident], begin: Moment, end: Moment) -> Durations:
    """How long it took from one moment to another, for those that have both."""
    pairs = ((begin(one), end(one)) for one in incidents)
    return Durations(seconds=tuple(sorted(max(0.0, b - a) for a, b in pairs if a is not None and b is not None)))


def restored(incidents: Iterable[Incident], since: float, until: float) -> list[Incident]:
    """Those that ended in this time: each incident counts in one period, however long it lasted."""
    return [one for one in incidents if one.resolved is not None and since <= one.resolved < until]


def begun(incidents: Iterable[Incident], since: float, until: float) -> list[Incident]:
    """Those that began in this time."""
    return [one for one in incidents if since <= one.start < until]


def still_open(incidents: Iterable[Incident], until: float) -> list[Incident]:
    """Those that had begun and not ended at this instant."""
    return [one for one in incidents if one.start < until and (one.resolved is None or one.resolved >= until)]


def blamed(changes: Sequence[Change], incidents: Iterable[Incident]) -> dict[str, list[Incident]]:
    """By operation, the incidents that began on a host of it within the hour after it was changed."""
    found: dict[str, list[Incident]] = {}
    for one in incidents:
        for operation_id in {change.operation_id for change in changes if _laid_to(change, one)}:
            found.setdefault(operation_id, []).append(one)
    return found


def _laid_to(change: Change, incident: Incident) -> bool:
    if incident.caused_by is not None:
        return incident.caused_by == change.operation_id
    return change.host == incident.host and 0 <= incident.start - change.at <= FOLLOWS_WITHIN

"""A host's past as `system_monitoring` looks at it: how long a limit is exceeded, and the same hour of last week.

What is not in the record says nothing: without enough of the past there is no word about it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from opsqueue.model.kind import Finding, Seen
from opsqueue.model.names import Severity
from opsqueue.model.sample import DAY, Point, SeriesWanted, merged

_STEP, _HOUR, _MINUTE = 300.0, 3600.0, 60.0
_RECENT_S = 3 * _HOUR
_DAY_S, _WEEK_S, _MONTH_S = 1.0 * DAY, 7.0 * DAY, 30.0 * DAY
_RECENT, _HOURS, _DAYS, _LAST_WEEK = "recent", "hours", "days", "last_week"
_WATCHED: Mapping[str, tuple[str, ...]] = {
    "cpu": ("cpu_usage", "cpu_iowait", "cpu_steal"),
    "memory": ("memory_usage",),
    "swap": ("swap_usage",),
    "disk": ("disk_usage:*",),
    "inodes": ("inode_usage:*",),
    "load": ("load_per_cpu_5m",),
    "fd": ("open_files_usage",),
    "response": ("response_time:*",),
}
"""The metrics with limits, by subject."""
_STALE = 3.0
"""After so many steps of 5 minutes without a value nobody knows what was meanwhile; farther back, an hour or a day."""
_SHORTEST_S = 10 * _MINUTE
_FEWEST = 3
"""Values on either side of a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """A metric and what is far from it: by so much, and (where it is not a percentage) by so many times."""

    metric: str
    what: str
    unit: str
    by: float
    times: float = 1.0

    def far(self, one: float, other: float) -> bool:
        """Whether two means of it are far from each other."""
        low, high = sorted((one, other))
        return high - low >= self.by and high >= low * self.times


_COMPARED: Mapping[str, _Compared] = {
    "cpu": _Compared(metric="cpu_usage", what="CPU usage", unit=" %", by=20.0),
    "memory": _Compared(metric="memory_usage", what="memory usage", unit=" %", by=20.0),
    "swap": _Compared(metric="swap_usage", what="swap usage", unit=" %", by=20.0),
    "disk": _Compared(metric="disk_usage", what="usage of the fullest file system", unit=" %", by=20.0),
    "load": _Compared(metric="load_per_cpu_5m", what="the load for each CPU", unit="", by=0.5, times=2.0),
    "response": _Compared(metric="response_time", what="the slowest response time", unit=" ms", by=100.0, times=2.0),
}


def wanted(subjects: Sequence[str]) -> tuple[SeriesWanted, ...]:
    """What is to be read of the past for these subjects."""
    watched = tuple(metric for name in subjects for metric in _WATCHED.get(name, ()))
    compared = tuple(_COMPARED[name].metric for name in subjects if name in _COMPARED)
    found = (
        SeriesWanted(name=_RECENT, metrics=(*watched, *compared), ago=_RECENT_S, step=_STEP),
        SeriesWanted(name=_HOURS, metrics=watched, ago=_DAY_S, until=_RECENT_S, step=_HOUR),
        SeriesWanted(name=_DAYS, metrics=watched, ago=_MONTH_S, until=_DAY_S, step=_DAY_S),
        SeriesWanted(name=_LAST_WEEK, metrics=compared, ago=_WEEK_S + _HOUR, until=_WEEK_S, step=_STEP),
    )
    return tuple(one for one in found if one.metrics)


# -- how long -----------------------------------------------------------------------------------------------


def lasted(seen: Seen, metric: str, limit: float) -> float | None:
    """For how many seconds at least this metric has been above the limit without a break; None: not for long."""
    begin = seen.at
    for name, stale in ((_RECENT, _STALE * _STEP), (_HOURS, _HOUR), (_DAYS, _DAY_S)):
        points = [point for point in seen.series.get(name, {}).get(metric, ()) if point.at < begin]
        reached = _unbroken(points, stale, begin, limit)
        if points and reached > points[0].at:
            begin = min(begin, reached)
            break
        begin = min(begin, reached)
    long = seen.at - begin
    return long if long >= _SHORTEST_S else None


def _unbroken(points: Sequence[Point], stale: float, end: float, limit: float) -> float:
    """The beginning of the steps up to `end` that are above the limit as a whole; `end` when not even the last is."""
    apart = [two.at - one.at for one, two in pairwise(points)]
    # Where it is looked at less often than that, the usual distance is no gap.
    longest = max(stale, statistics.median(apart) if apart else 0.0)
    for point in reversed(points):
        if point.low <= limit or end - point.at > longest:
            break
        end = point.at
    return end


def in_words(seconds: float | None) -> str:
    """`, for 3 h`; empty when it is not known."""
    if seconds is None:
        return ""
    if seconds >= _MONTH_S - _DAY_S:
        return ", for 30 days or longer"
    for size, word in ((DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * size:
            return f", for {seconds // size:.0f} {word}"
    return f", for {seconds:.0f} s"


# -- the same hour of last week -----------------------------------------------------------------------------


def unlike_last_week(subjects: Sequence[str], seen: Seen) -> Iterator[Finding]:
    """What was far from this in the same hour of last week, with both numbers."""
    for name in subjects:
        if compared := _COMPARED.get(name):
            then = _mean(seen, _LAST_WEEK, compared.metric, seen.at - _WEEK_S - _HOUR)
            now = _mean(seen, _RECENT, compared.metric, seen.at - _HOUR) if then else None
            if now and then and compared.far(now.mean, then.mean):
                yield _unlike(compared, now, then, seen.host)


def _mean(seen: Seen, name: str, metric: str, since: float) -> Point | None:
    """The hour from then on, as one; None when there is too little of it."""
    found = seen.series.get(name, {}).get(metric, ())
    points = [point for point in found if since // _STEP * _STEP <= point.at <= since + _HOUR]
    hour = merged(since, points) if points else None
    return hour if hour and hour.count >= _FEWEST else None


def _unlike(compared: _Compared, now: Point, then: Point, host: str) -> Finding:
    unit = compared.unit
    message = (
        f"{compared.what} was {now.mean:.3g}{unit} on average in the last hour; "
        f"in the same hour of last week it was {then.mean:.3g}{unit} ({then.low:.3g} to {then.high:.3g}{unit})"
    )
    return Finding(
        severity=Severity.INFO,
        code="unlike_last_week",
        host=host,
        message=message,
        evidence={"metric": compared.metric, "mean": round(now.mean, 3), "last_week": round(then.mean, 3)},
        advice="Look for what is new since: a release, a job, other visitors; `opsqueue history --system` tells ours.",
    )

"""How a host is used through the week: percentiles, never the mean; the usual hour, and the busiest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from opsqueue.model.kind import Seen
from opsqueue.model.sample import Point
from opsqueue.operations.capacity.days import DAY

HOUR = 3600
LOOKED_AT = 28 * DAY
"""Seconds of the past of which the means of five minutes are looked at."""
_WEEK_HOURS = 168
_TWO_WEEKS = 14
DAYS = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")
"""1970 began on a Thursday."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One use in percent, from its means of five minutes."""

    name: str
    steady: float
    """The middle one."""
    percentile: float
    """Of the percentile that is judged by."""
    cost: float
    """Of the percentile that cost advice is judged by."""
    peak: float
    """The highest value that was ever measured in that time."""
    days: int
    hours: tuple[float | None, ...]
    """The usual value of each hour of the week (168, from Thursday 00:00 UTC), or of the day (24) before two weeks."""

    @property
    def busiest(self) -> str:
        """The hour that is usually the busiest."""
        value, place = max(((v, -place) for place, v in enumerate(self.hours) if v is not None))
        place = -place
        when = f"{DAYS[place // 24]} " if len(self.hours) == _WEEK_HOURS else ""
        return f"{when}{place % 24:02}:00 UTC, {value:.0f} %"


def load(seen: Seen, name: str, percentile: float, cost: float) -> Load | None:
    """How a use went in the last weeks; None without any value."""
    points = seen.series.get("minutes", {}).get(name, ())
    if not points:
        return None
    values = sorted(point.mean for point in points)
    days = len({point.at // DAY for point in points})
    return Load(
        name=name,
        steady=median(values),
        percentile=ranked(values, percentile),
        cost=ranked(values, cost),
        peak=max(point.high for point in points),
        days=days,
        hours=_profile(points, weekly=days >= _TWO_WEEKS),
    )


def ranked(values: Sequence[float], percentile: float) -> float:
    """The value that so many percent of these, in order, do not exceed."""
    return values[max(0, -(-len(values) * percentile // 100).__int__() - 1)]


def _profile(points: Sequence[Point], *, weekly: bool) -> tuple[float | None, ...]:
    slots = _WEEK_HOURS if weekly else 24
    hours: dict[int, list[float]] = {}
    for point in points:
        hours.setdefault(int(point.at // HOUR), []).append(point.mean)
    usual: list[list[float]] = [[] for _ in range(slots)]
    for hour, found in hours.items():
        usual[hour % slots].append(sum(found) / len(found))
    return tuple(median(found) if found else None for found in usual)

"""The outlook of one resource of a host: its course, its forecast, and when its threshold is reached."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import StatisticsError, correlation
from typing import Any

from opsqueue.facts.system import subject
from opsqueue.model.amount import amount, size
from opsqueue.model.fact import Facts, why_unknown
from opsqueue.model.kind import Seen
from opsqueue.model.sample import Point, Series
from opsqueue.operations.capacity.days import DAY, Course, course
from opsqueue.operations.capacity.forecast import FARTHEST, RECENT, Crossing, Forecast, cause, crossing, forecast
from opsqueue.operations.capacity.params import DATED, CapacityPlanningParams, Resource

_OF: Mapping[Resource, str] = {
    "disk": "disk_usage",
    "inodes": "inode_usage",
    "memory": "memory_usage",
    "swap": "swap_usage",
    "cpu": "cpu_usage",
}
_USED_IN_BURSTS = frozenset({"cpu"})
_LOADS = frozenset({"cpu", "memory"})
"""What is used, and not stored: it has a level, and rises and falls."""
_STALE = 7
"""Days after which the last value says nothing of today."""
_CONFIGURED = {"disk": "disk_usage", "memory": "memory_usage", "cpu": "cpu_usage"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is known of one resource, and what may come."""

    name: str
    """Of the metric, such as `disk_usage:/var`."""
    resource: str
    place: str = ""
    """The mount; empty where there is none."""
    course: Course
    threshold: float
    total: float | None = None
    """Bytes that 100 % stand for, where they do."""
    found: Forecast | None = None
    crossing: Crossing | None = None
    why: str = ""
    """Why nothing is forecast, in words."""
    dated: bool = False
    """Whether there is enough history to say a date."""

    @property
    def called(self) -> str:
        """As people say it: `disk /var`, `memory`."""
        return f"{self.resource} {self.place}".strip()

    @property
    def last(self) -> float:
        """The value of the last day; only where there is one."""
        return self.course.values[-1]

    @property
    def reached(self) -> bool:
        """Whether the threshold is reached already."""
        return bool(self.course.values) and self.last >= self.threshold

    @property
    def comes(self) -> bool:
        """Whether the threshold is reached within a year, if only at the earliest."""
        return self.crossing is not None and self.crossing.earliest is not None

    @property
    def pattern(self) -> str:
        """What its course looks like, in one word."""
        if self.found is None:
            return ""
        seen = cause(self.course.steps())
        if self.resource not in _LOADS or seen == "constant":
            return seen
        # The days of a load go up and down: only what adds up to more than that in a month is a direction.
        if abs(self.found.growth) * RECENT <= self.found.noise:
            return "level"
        return "rising" if self.found.growth > 0 else "shrinking"

    def said(self, value: float) -> str:
        """A value with its unit."""
        return amount(value, self.course.unit) or ""

    def pace(self) -> str:
        """How fast it grows, in bytes where they are known; empty when it does not."""
        if self.found is None or self.pattern in {"constant", "level"}:
            return ""
        growth = self.found.growth
        if self.total:
            return f"{size(growth / 100 * self.total)} a day"
        unit = " points" if self.course.unit == "percent" else f" {self.course.unit}".rstrip()
        return f"{growth:.3g}{unit} a day"

    def evidence(self) -> dict[str, Any]:
        """What a claim rests on."""
        if self.found is None:
            return {"metric": self.name, "days": len(self.course.days), "notes": list(self.course.notes)}
        return {
            "metric": self.name,
            "method": self.found.model,
            "days": len(self.course.days),
            "missing_days": self.course.missing,
            "last": round(self.last, 3),
            "threshold": self.threshold,
            "growth_per_day": round(self.found.growth, 5),
            "noise_per_day": round(self.found.noise, 5),
            "r2": _r2(self.course),
            "pattern": self.pattern,
            "notes": list(self.course.notes),
        }


def outlooks(params: CapacityPlanningParams, seen: Seen) -> tuple[Outlook, ...]:
    """The outlook of everything that is asked for and there is."""
    daily = seen.series.get("days", {})
    found = [one for resource in dict.fromkeys(params.resources) for one in _of(resource, params, seen, daily)]
    for name, limit in params.limits.items():
        past = course(name, daily.get(name, ()), seen.at)
        whole = Course(name=name, unit="", days=past.days, values=past.values, today=past.today, notes=past.notes)
        found.append(judged(Outlook(name=name, resource=name, course=whole, threshold=limit), params))
    return tuple(found)


def _of(resource: Resource, params: CapacityPlanningParams, seen: Seen, daily: Series) -> Iterator[Outlook]:
    metric, limit = _OF[resource], threshold(resource, params, seen)
    totals = mounted(seen)
    for name in _names(resource, daily, totals):
        place = name.partition(":")[2]
        if any(fnmatchcase(text, pattern) for text in (name, place) if text for pattern in params.exclude):
            continue
        sizes = _totals(name, daily) if resource == "disk" else {}
        past = course(name, daily.get(name, ()), seen.at, burst=resource in _USED_IN_BURSTS, totals=sizes)
        total = (
            totals.get(place)
            if totals and metric == "disk_usage"
            else _memory(seen)
            if metric == "memory_usage"
            else None
        )
        one = Outlook(name=name, resource=resource, place=place, course=past, threshold=limit, total=total)
        yield judged(one, params)


def _names(resource: Resource, daily: Series, totals: Mapping[str, float] | None) -> list[str]:
    """The metrics of a resource: of mounts those that are mounted now, as far as that is known."""
    metric = _OF[resource]
    if resource not in {"disk", "inodes"}:
        return [metric] if metric in daily or resource != "swap" else []
    if totals is not None:
        counted = [place for place in totals if resource == "disk" or f"{metric}:{place}" in daily]
        return [f"{metric}:{place}" for place in counted]
    return sorted(name for name in daily if name.startswith(f"{metric}:"))


def mounted(seen: Seen) -> dict[str, float] | None:
    """Bytes of each mount as df counts them; None when the disks could not be read."""
    disk = subject(found_in(seen), "disk")
    if why_unknown(disk) is not None:
        return None
    mounts = [one for one in disk.get("mounts", ()) if one.get("used") is not None]
    return {one["mount"]: float(one["used"] + one["available"]) for one in mounts}


def found_in(seen: Seen) -> Facts:
    """The answers of the host."""
    return seen.after or seen.before


def _memory(seen: Seen) -> float | None:
    memory = subject(found_in(seen), "memory")
    return None if why_unknown(memory) is not None else memory.get("total")


def threshold(resource: Resource, params: CapacityPlanningParams, seen: Seen) -> float:
    """Percent from which on it is too much: of the request, else of the configuration."""
    own = getattr(params.threshold_pct, resource)
    return float(own if own is not None else seen.thresholds[_CONFIGURED[resource]])


def _totals(name: str, daily: Series) -> dict[int, float]:
    """Bytes of a volume by day: how full it was at most, and what was left at least, are of one moment."""
    left = {int(point.at // DAY): point.low for point in daily.get(name.replace("usage", "available", 1), ())}
    full = ((int(point.at // DAY), point) for point in daily.get(name, ()))
    return {day: left[day] / (1 - point.high / 100) for day, point in full if day in left and _tells(point)}


def _tells(point: Point) -> bool:
    return point.high < 99  # noqa: PLR2004 - of a full volume the total cannot be told from what is left


def judged(one: Outlook, params: CapacityPlanningParams) -> Outlook:
    """With its forecast, or the reason why there is none."""
    past, days = one.course, len(one.course.days)
    if days < params.min_history_days:
        return _with(one, why=f"{days} daily values, {params.min_history_days} are needed{_since(past)}")
    if past.age > _STALE:
        return _with(one, why=f"the last value is {past.age} days old: is the host still monitored?")
    top = 100.0 if past.unit == "percent" else math.inf
    found = forecast(past, "level" if one.resource in _LOADS else "drift", top)
    when = crossing(found, one.threshold, params.interval, past.age) if one.threshold <= top else None
    if when and one.reached:  # the forecast of a load starts at its middle, and would say a day for what is so today
        when = Crossing(earliest=0, likely=0, latest=0)
    return _with(one, found=found, crossing=when, dated=days >= DATED)


def _since(past: Course) -> str:
    return f" ({past.notes[-1]})" if past.notes else ""


def _with(one: Outlook, **changes: Any) -> Outlook:
    kept = {name: getattr(one, name) for name in ("name", "resource", "place", "course", "threshold", "total")}
    return Outlook(**{**kept, **changes})


def _r2(past: Course) -> float | None:
    """How much of the course a straight line explains, 0 to 1; None for a constant one."""
    try:
        return round(correlation(past.days, past.values) ** 2, 3)
    except StatisticsError:
        return None


# -- in words -------------------------------------------------------------------------------------------------


def when(one: Outlook, interval: float = 0.8) -> str:
    """When the threshold is reached: always a range, and never a date that nobody can know."""
    level = one.said(one.threshold)
    if one.found is None or one.crossing is None:
        return f"no forecast: {one.why}"
    if one.reached:
        return f"above {level} already"
    if one.pattern == "constant":
        return f"{level} not within {FARTHEST} days: it has not changed in {one.course.length} days"
    if not one.dated:
        return f"no date: {len(one.course.days)} daily values, {DATED} are needed for one"
    return f"{level} {span(one.crossing)} ({interval * 100:.0f} % range)"


def span(days: Crossing) -> str:
    """`in 41 days (18 to 120)`, or that it is so already, or far away."""
    if days.latest == 0:
        return "reached already"
    if days.earliest is None:
        return f"not within {FARTHEST} days"
    latest = f"more than {FARTHEST}" if days.latest is None else str(days.latest)
    if days.likely is None:
        return f"not within {FARTHEST} days at the present pace, in {days.earliest} days at the earliest"
    return f"in {days.likely} days ({days.earliest} to {latest})"

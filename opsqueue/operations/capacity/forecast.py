"""Two small forecasts with a range, each measured against others in docs/performance.md.

`drift`, for what is stored (disks, inodes, swap): from the last value by the mean daily change, over all days and over
the last 28. The range reaches from the smaller change less the noise to the larger one and the noise, so that a
change of pace lies in it. `level`, for what is used (CPU, memory): from the middle of the last two weeks, with the
usual difference of the day of the week, because the last value of a load says little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, median, pstdev, stdev
from typing import Literal

from opsqueue.operations.capacity.days import Course

Model = Literal["drift", "level"]

RECENT = 28
"""Days of the second look at the pace."""
FARTHEST = 365
"""Days beyond which no date is said."""
_FORTNIGHT = 14
_WEEK = 7
_OF_MEDIAN = math.pi / 2
"""The variance of a median, as a multiple of that of a mean."""
_LONE = 3
"""So many drops are a habit, such as a weekly cleanup; fewer are events."""
_HABIT = 4.0
"""A drop so many times larger than the usual change counts as a tooth of a sawtooth."""
_LARGE = 8.0
"""A drop so many times larger than the usual change of a day is a cleanup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast something changes: units a day, and how much that scatters."""

    mean: float
    noise: float
    """Standard deviation of the daily changes."""
    days: int

    def spread(self, ahead: int, z: float) -> float:
        """Half of the range after so many days: the noise adds up, and the pace itself is not known exactly."""
        return z * self.noise * math.sqrt(ahead * (1 + ahead / self.days))


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What may be after so many days."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What may come: of a series whose last value is known."""

    model: Model
    last: float
    """From where it starts."""
    growth: float
    """Units a day that are likely."""
    noise: float
    days: int
    """How many daily changes it rests on."""
    top: float
    """The largest value that there is; infinite where there is no such thing."""
    reach: Callable[[int, float], Range]
    """(days ahead of the last value, z of the interval) -> range, not held to 0 and `top`."""

    def at(self, ahead: int, interval: float = 0.8) -> Range:
        """What may be after so many days from the last value; it lies within with about that probability."""
        found = self.reach(ahead, NormalDist().inv_cdf((1 + interval) / 2))
        return Range(low=self._held(found.low), likely=self._held(found.likely), high=self._held(found.high))

    def _held(self, value: float) -> float:
        return min(max(value, 0.0), self.top)


def forecast(course: Course, model: Model, top: float = 100.0) -> Forecast:
    """The forecast of a series with at least two days; how many are enough is for the caller to say."""
    rises_and_falls = model == "level" or cause(course.steps()) == "sawtooth"
    return _level(course, top) if rises_and_falls else _drift(course, top)


def pace(steps: Sequence[float]) -> Pace:
    """The pace of these daily changes."""
    return Pace(mean=fmean(steps), noise=stdev(steps) if len(steps) > 1 else 0.0, days=len(steps))


def lone_drops(steps: Sequence[float]) -> list[int]:
    """The places of drops that are events and no habit: one or two cleanups by hand."""
    usual = median(abs(step) for step in steps) if steps else 0.0
    spread = median(abs(step - median(steps)) for step in steps) if steps else 0.0
    limit = _LARGE * max(usual, spread)
    found = [place for place, step in enumerate(steps) if step < 0 and -step > limit]
    return found if 0 < len(found) < _LONE else []


def _drift(course: Course, top: float) -> Forecast:
    steps = course.steps()[-FARTHEST:]
    lone = set(lone_drops(steps))
    kept = [step for place, step in enumerate(steps) if place not in lone]
    whole, recent = pace(kept), pace(kept[-RECENT:])
    slow, fast = min(whole.mean, recent.mean), max(whole.mean, recent.mean)
    last = course.values[-1]

    def reach(ahead: int, z: float) -> Range:
        spread = max(whole.spread(ahead, z), recent.spread(ahead, z))
        return Range(
            low=last + slow * ahead - spread, likely=last + whole.mean * ahead, high=last + fast * ahead + spread
        )

    return Forecast(
        model="drift", last=last, growth=whole.mean, noise=whole.noise, days=len(steps), top=top, reach=reach
    )


def _level(course: Course, top: float) -> Forecast:
    """Level and trend from the middles of fortnights, which a single busy day does not move."""
    usual = _weekdays(course)
    plain = [value - usual[day % _WEEK] for day, value in zip(course.days, course.values, strict=True)]
    last, end, days = median(plain[-_FORTNIGHT:]), course.days[-1], len(course.days)
    trend = _trend(course.days, plain)
    noise = _scatter(course.days, plain, trend)
    walk = _walk(plain, noise)
    unsure = walk * walk / days + 12 * noise * noise / days**3
    # A trend that may as well be chance is believed in only so far.
    growth = trend * (1 - unsure / (trend * trend)) if trend * trend > unsure else 0.0

    def reach(ahead: int, z: float) -> Range:
        likely = last + growth * ahead + usual[(end + ahead) % _WEEK]
        far = ahead + _WEEK  # the level is that of a week ago, in the middle of its fortnight
        spread = z * math.sqrt(noise * noise + walk * walk * far + unsure * ahead * ahead)
        return Range(low=likely - spread, likely=likely, high=likely + spread)

    return Forecast(model="level", last=last, growth=growth, noise=noise, days=days, top=top, reach=reach)


def _walk(values: Sequence[float], noise: float) -> float:
    """How far the level itself wanders in a day, beyond the noise of the days around it."""
    weeks = [median(values[place : place + _WEEK]) for place in range(0, len(values) - _WEEK + 1, _WEEK)]
    changes = [after - before for before, after in pairwise(weeks)]
    if len(changes) < 2:  # noqa: PLR2004 - no deviation of one
        return 0.0
    by_chance = 2 * _OF_MEDIAN * noise * noise / _WEEK
    return math.sqrt(max(0.0, pstdev(changes) ** 2 - by_chance) / _WEEK)


def _weekdays(course: Course) -> list[float]:
    """How much each day of the week differs from the others; all 0 before two weeks are known."""
    if course.length < 2 * _WEEK:
        return [0.0] * _WEEK
    middle = median(course.values)
    by_day: list[list[float]] = [[] for _ in range(_WEEK)]
    for day, value in zip(course.days, course.values, strict=True):
        by_day[day % _WEEK].append(value - middle)
    return [median(found) if len(found) > 1 else 0.0 for found in by_day]


def _trend(days: Sequence[int], values: Sequence[float]) -> float:
    """Units a day between the middles of the first and of the last third."""
    part = max(1, len(days) // 3)
    between = fmean(days[-part:]) - fmean(days[:part])
    return (median(values[-part:]) - median(values[:part])) / between if between else 0.0


def _scatter(days: Sequence[int], values: Sequence[float], growth: float) -> float:
    """How much the days scatter around their trend."""
    rest = [value - growth * (day - days[0]) for day, value in zip(days, values, strict=True)]
    return pstdev(rest) if len(rest) > 1 else 0.0


# -- when -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """In how many days from today a level is reached; None: not within a year."""

    earliest: int | None
    likely: int | None
    latest: int | None


def crossing(found: Forecast, level: float, interval: float, age: int = 0) -> Crossing:
    """When the top, the middle and the bottom of the range reach a level; `age`: days since the last value."""
    first: dict[str, int | None] = {}
    for name in ("high", "likely", "low"):
        first[name] = next((day for day in _ahead() if getattr(found.at(day, interval), name) >= level), None)
    days = {name: None if day is None else max(0, day - age) for name, day in first.items()}
    return Crossing(earliest=days["high"], likely=days["likely"], latest=days["low"])


def _ahead() -> Iterator[int]:
    return iter(range(FARTHEST + 1))


# -- what kind of growth --------------------------------------------------------------------------------------


def cause(steps: Sequence[float]) -> str:
    """What the course looks like: constant, shrinking, sawtooth, runaway, step, steady or monthly."""
    rises, drops = (sum(step for step in steps if step > 0), -sum(step for step in steps if step < 0))
    if not rises and not drops:
        return "constant"
    net, large = rises - drops, _large_drops(steps)
    if _monthly(large):
        return "monthly"
    if rises > 2 * abs(net) and len(large) >= _LONE:
        return "sawtooth"
    if net < 0:
        return "shrinking"
    week, before = steps[-_WEEK:], steps[:-_WEEK]
    if before and fmean(week) > 3 * max(fmean(before), 0.0) and fmean(week) * _WEEK > 2 * _noise_of_a_week(before):
        return "step" if max(week) > sum(week) / 2 else "runaway"
    return "step" if net > 0 and max(steps) > net / 2 and len(steps) > _WEEK else "steady"


def _noise_of_a_week(steps: Sequence[float]) -> float:
    return pstdev(steps) * math.sqrt(_WEEK)


def _large_drops(steps: Sequence[float]) -> list[int]:
    usual = median(abs(step) for step in steps)
    return [place for place, step in enumerate(steps) if -step > _HABIT * usual and step < 0]


def _monthly(drops: Sequence[int]) -> bool:
    """Whether the drops come once a month; two whole months must have been seen."""
    between = [later - day for day, later in pairwise(drops)]
    return len(between) > 1 and all(27 <= days <= 32 for days in between)  # noqa: PLR2004 - days of a month

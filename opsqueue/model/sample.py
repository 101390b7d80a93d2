"""Numbers over time: a measured point or the summary of many, and which of them a type wants to see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What was measured at one moment, or between `at` and the next step; a raw value is all four of its own."""

    at: float
    """UNIX time: of the value, or of the beginning of the step."""
    mean: float
    low: float
    high: float
    p95: float
    """The value that 95 of 100 measured ones do not exceed."""
    count: int = 1
    """How many measured values it stands for."""

    @classmethod
    def raw(cls, at: float, value: float) -> Point:
        """A single measured value."""
        return cls(at=at, mean=value, low=value, high=value, p95=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesWanted:
    """Which numbers of a host's past the analysis wants, under which name."""

    name: str
    metrics: tuple[str, ...]
    """Names of metrics; `*` stands for anything, as in `disk_usage:*`."""
    ago: float
    """How many seconds back from now the first one lies."""
    until: float = 0.0
    """How many seconds back from now the last one lies."""
    step: float = 0.0
    """Seconds that one point stands for: 0 raw values, 300, 3600 or 86400 their summaries (UTC)."""


Series = Mapping[str, tuple[Point, ...]]
"""Points by the name of the metric, oldest first; a metric without any is left out."""


LEVELS = (300, 3600, 86_400)
"""Seconds of the steps for which summaries are kept beside the measured values; they begin at multiples, in UTC."""
DAY = LEVELS[-1]


def summary(at: float, values: Sequence[float]) -> Point:
    """What these measured values of one step come to; all of it exact. There is at least one."""
    ordered = sorted(values)
    rank = max(0, -(-len(ordered) * 95 // 100) - 1)
    mean = _mean([(value, 1) for value in ordered])
    return Point(at=at, mean=mean, low=ordered[0], high=ordered[-1], p95=ordered[rank], count=len(ordered))


def merged(at: float, points: Sequence[Point]) -> Point:
    """The summary of several steps as one; there is at least one. All of it is exact but p95, which is a bound.

    Percentiles cannot be averaged. The highest of the parts is certainly not exceeded by more than 5 of 100 values of
    the whole, because it is not by more than 5 of 100 in any part: the true one is that, or lower.
    """
    count = sum(point.count for point in points)
    return Point(
        at=at,
        mean=_mean([(point.mean, point.count) for point in points]),
        low=min(point.low for point in points),
        high=max(point.high for point in points),
        p95=max(point.p95 for point in points),
        count=count,
    )


def _mean(weighed: Sequence[tuple[float, int]]) -> float:
    """Of values and how often each counts; where their sum is larger than any float, of their parts."""
    count = sum(often for _value, often in weighed)
    total = sum(value * often for value, often in weighed)
    if math.isfinite(total):
        return total / count
    parts = sum(value * (often / count) for value, often in weighed)
    # The last digit of that may lie beyond all of them.
    return min(max(parts, min(weighed)[0]), max(weighed)[0])


def stepped(points: Iterable[Point], step: float) -> tuple[Point, ...]:
    """Points, in their order, as summaries of longer steps."""
    steps: dict[float, list[Point]] = {}
    for point in points:
        steps.setdefault(point.at // step * step, []).append(point)
    return tuple(merged(at, found) for at, found in steps.items())


def summaries(values: Iterable[tuple[float, float]], step: float) -> tuple[Point, ...]:
    """Measured values (UNIX time, value), in their order, as summaries of steps."""
    steps: dict[float, list[float]] = {}
    for at, value in values:
        steps.setdefault(at // step * step, []).append(value)
    return tuple(summary(at, found) for at, found in steps.items())


@dataclass(frozen=True, slots=True)
class Last:
    """The newest number of a series."""

    value: float
    at: float
    every: float = 0.0
    """Seconds since the one before it; 0: it was the first."""

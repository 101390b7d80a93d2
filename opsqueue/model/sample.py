"""Numbers over time: a measured point or the summary of many, and which of them a type wants to see."""

from __future__ import annotations

from collections.abc import Mapping
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

"""Response times over the last day, in percentiles, and beside those of the week before."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.sample import Point, Series, SeriesWanted
from opsqueue.operations.health.check import Check, NetworkCheck

_DAY = 86_400.0
_ENOUGH = 20
"""Of fewer values the 95th percentile is nothing but the greatest."""
_MUCH_SLOWER = 2.0
_WORTH_A_WORD_MS = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Of one check, in ms; None where too few were measured."""

    count: int = 0
    """Answers of the last day."""
    failed: int = 0
    """Checks of the last day without an answer: they have no time, and count in no percentile."""
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    week_p95: float | None = None
    """The median of what the 95th percentile was on each of the seven days before."""


def wanted(checks: Sequence[Check]) -> tuple[SeriesWanted, ...]:
    """The past that this takes: the last day as it was measured, the week before it day by day.

    The states of all checks are only for the report, and are not read before it is made.
    """
    names = [check.name for check in checks if isinstance(check, NetworkCheck)]
    states = SeriesWanted(name="states", metrics=tuple(f"state:{check.name}" for check in checks), ago=_DAY)
    if not names:
        return (states,)
    took, state = tuple(f"response_time:{name}" for name in names), tuple(f"state:{name}" for name in names)
    return (
        SeriesWanted(name="day", metrics=(*took, *state), ago=_DAY),
        # Steps are whole days; the one in which the last 24 hours begin belongs to neither.
        SeriesWanted(name="week", metrics=took, ago=8 * _DAY, until=2 * _DAY, step=_DAY),
        states,
    )


def times_of(name: str, series: Mapping[str, Series]) -> Times:
    """The figures of one check."""
    day = series.get("day", {})
    took = sorted(point.mean for point in day.get(f"response_time:{name}", ()))
    failed = max(len(day.get(f"state:{name}", ())) - len(took), 0)
    if len(took) < _ENOUGH:
        return Times(count=len(took), failed=failed)
    return Times(
        count=len(took),
        failed=failed,
        p50=percentile(took, 50),
        p95=percentile(took, 95),
        p99=percentile(took, 99),
        week_p95=_of_week(series.get("week", {}).get(f"response_time:{name}", ())),
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of them do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _of_week(days: Sequence[Point]) -> float | None:
    full = [day.p95 for day in days if day.count >= _ENOUGH]
    return statistics.median(full) if full else None


def times_metrics(name: str, times: Times) -> Iterator[Metric]:
    """The percentiles, where there are any, and how often there was no answer."""
    for what in ("p50", "p95", "p99"):
        value = getattr(times, what)
        if value is not None:
            yield Metric(name=f"{what}:{name}", value=round(value, 2), unit="ms")
    if times.count or times.failed:
        yield Metric(name=f"failed:{name}", value=times.failed, unit="count")


def slower(name: str, times: Times) -> Iterator[Finding]:
    """A word when it is much slower than last week."""
    now, then = times.p95, times.week_p95
    if now is None or then is None or now < then * _MUCH_SLOWER or now - then < _WORTH_A_WORD_MS:
        return
    yield Finding(
        severity=Severity.WARNING,
        code="response_slower",
        message=f"{name}: p95 was {then:.0f} ms last week, now {now:.0f} ms",
        evidence={
            "check": name,
            "p50_ms": times.p50,
            "p95_ms": now,
            "p99_ms": times.p99,
            "last_week_p95_ms": then,
            "answers": times.count,
            "failed": times.failed,
        },
        advice="Compare its phases with those of earlier results, and see what was changed since.",
    )

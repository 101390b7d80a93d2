"""What a report shows of a health check: a table of all checks, and charts over the last day."""

from __future__ import annotations

from collections.abc import Sequence

from opsqueue.model.kind import Seen
from opsqueue.model.report import Cell, Chart, Grid, Line, Mark, Section
from opsqueue.operations.health.check import NetworkCheck
from opsqueue.operations.health.streak import Standing
from opsqueue.operations.health.times import Times

_COLUMNS = (
    "check", "state", "counts as", "answered in ms", "p50", "p95", "p99", "p95 last week", "without an answer",
    "certificate days",
)  # fmt: skip


def sections(standings: Sequence[tuple[Standing, Times]], seen: Seen) -> tuple[Section, ...]:
    """One section for the host."""
    rows = tuple(_row(one, times, seen) for one, times in standings)
    charts = [chart for one, _ in standings for chart in _charts(one, seen)]
    text = ("Percentiles in ms and checks without an answer are of the last 24 hours.",)
    return (Section(title="Checks", text=text, grids=(Grid(columns=_COLUMNS, rows=rows),), charts=tuple(charts)),)


def _row(one: Standing, times: Times, seen: Seen) -> tuple[Cell, ...]:
    name = one.judged.check.name
    counts = None if one.now is None else "down" if one.now.down else "up"
    failed = times.failed if times.count or times.failed else None
    figures = (times.p50, times.p95, times.p99, times.week_p95)
    took, days = _value(seen, f"response_time:{name}"), _value(seen, f"cert_days_left:{name}")
    return (name, one.judged.state.value, counts, took, *figures, failed, days)


def _value(seen: Seen, name: str) -> float | None:
    metric = seen.metrics.get(name)
    return metric.value if metric else None


def _charts(one: Standing, seen: Seen) -> list[Chart]:
    name, day = one.judged.check.name, seen.series.get("day", {})
    points = [(point.at, point.mean) for point in day.get(f"response_time:{name}", ())]
    if len(points) < 2:  # noqa: PLR2004 - a line takes two
        return []
    states = [(point.at, point.mean) for point in day.get(f"state:{name}", ())]
    return [
        Chart(
            title=f"{name}: response time",
            unit="ms",
            lines=(Line(label=name, points=tuple(points)),),
            marks=_marks(one),
        ),
        Chart(
            title=f"{name}: 0 ok, 1 warning, 2 critical, 3 unknown",
            unit="state",
            lines=(Line(label=name, points=tuple(states)),),
        ),
    ]


def _marks(one: Standing) -> tuple[Mark, ...]:
    check = one.judged.check
    limits = (("warn_ms", check.warn_ms), ("crit_ms", check.crit_ms)) if isinstance(check, NetworkCheck) else ()
    return tuple(Mark(label=label, value=value) for label, value in limits if value is not None)

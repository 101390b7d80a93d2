"""What a report shows of a health check: a table of all checks, and charts over the last day."""

from __future__ import annotations

from collections.abc import Sequence

from opsqueue.model.kind import Seen
from opsqueue.model.report import Cell, Chart, Grid, Line, Mark, Section
from opsqueue.model.sample import Point
from opsqueue.operations.health.check import NetworkCheck
from opsqueue.operations.health.streak import Standing
from opsqueue.operations.health.times import Times

_COLUMNS = (
    "check", "state", "counts as", "answered in ms", "p50", "p95", "p99", "p95 last week", "without an answer",
    "certificate days",
)  # fmt: skip


_HOURS = 24
_HOUR = 3600.0
_NOBODY = "-"
_LETTERS = ("o", "w", "C", "?")
"""By the metric `state:CHECK`."""
_WORST_LAST = (0.0, 3.0, 1.0, 2.0)
"""Of several in an hour the one that stands farthest behind is shown: not to know hides nothing that is known."""
_LEGEND = (
    "One letter for each hour, the worst of it, oldest first: o ok, w warning, C critical, ? not known, - no check."
)


def sections(standings: Sequence[tuple[Standing, Times]], seen: Seen) -> tuple[Section, ...]:
    """All checks as they stand, and how they stood in the last day."""
    rows = tuple(_row(one, times, seen) for one, times in standings)
    charts = [chart for one, _ in standings for chart in _charts(one, seen)]
    text = ("Percentiles in ms and checks without an answer are of the last 24 hours.", *_next_certificate(seen))
    checks = Section(title="Checks", text=text, grids=(Grid(columns=_COLUMNS, rows=rows),), charts=tuple(charts))
    return (checks, *_timelines([one.judged.check.name for one, _ in standings], seen))


def _next_certificate(seen: Seen) -> tuple[str, ...]:
    known = {name: one.value for name, one in seen.metrics.items() if name.startswith("cert_days_left:")}
    days = sorted((value, name.partition(":")[2]) for name, value in known.items() if value is not None)
    return tuple(f"The certificate that ends first is that of {name}, in {left:.0f} days." for left, name in days[:1])


def _timelines(names: Sequence[str], seen: Seen) -> tuple[Section, ...]:
    """How each check stood in each hour of the last day; nothing where none was made before."""
    past = seen.series.get("states", {})
    found = {name: past.get(f"state:{name}", ()) for name in names}
    if not any(found.values()):
        return ()
    rows = tuple((name, _timeline(points, seen.at), _well(points)) for name, points in found.items())
    grid = Grid(columns=("check", "the last 24 hours", "ok, percent of the checks"), rows=rows)
    return (Section(title="Timeline", text=(_LEGEND,), grids=(grid,)),)


def _timeline(points: Sequence[Point], now: float) -> str:
    hours: list[list[float]] = [[] for _ in range(_HOURS)]
    for point in points:
        ago = int((now - point.at) // _HOUR)
        if 0 <= ago < _HOURS and point.mean in _WORST_LAST:
            hours[-1 - ago].append(point.mean)
    return "".join(_LETTERS[int(max(some, key=_WORST_LAST.index))] if some else _NOBODY for some in hours)


def _well(points: Sequence[Point]) -> float | None:
    """Of the checks that could be judged."""
    known = [point.mean for point in points if point.mean in {0.0, 1.0, 2.0}]
    return round(100.0 * known.count(0.0) / len(known), 1) if known else None


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

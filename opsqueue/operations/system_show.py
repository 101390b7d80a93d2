"""What a report shows of a reading: what is nearest to its limit, what waits for it, and charts of the last day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from opsqueue.model.amount import amount
from opsqueue.model.kind import Metric
from opsqueue.model.report import Cell, Chart, Grid, Line, Mark, Section
from opsqueue.model.sample import DAY, Point, SeriesWanted
from opsqueue.operations.system_rules import View

_PAST = "day"
_STEP = 300.0
_LINES = 8
"""Lines in one chart: the highest of them, where there are more."""
_POINTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resource:
    """A resource, how much of it is used, and what tells that somebody waits for it."""

    name: str
    metric: str
    limit: str = ""
    waits: tuple[str, ...] = ()


_RESOURCES: Mapping[str, tuple[_Resource, ...]] = {
    "cpu": (
        _Resource(name="CPU", metric="cpu_usage", limit="cpu_usage", waits=("pressure_cpu", "cpu_steal")),
        _Resource(name="CPU, of the control group's limit", metric="cpu_limit_usage", limit="cpu_usage"),
    ),
    "memory": (
        _Resource(name="memory", metric="memory_usage", limit="memory_usage", waits=("pressure_memory", "swap_usage")),
        _Resource(name="memory, of the control group's limit", metric="memory_limit_usage", limit="memory_usage"),
    ),
    "swap": (_Resource(name="swap", metric="swap_usage", limit="swap_usage", waits=("pressure_memory",)),),
    "disk": (_Resource(name="disk space", metric="disk_usage", limit="disk_usage"),),
    "inodes": (_Resource(name="inodes", metric="inode_usage", limit="inode_usage"),),
    "io": (_Resource(name="disk I/O", metric="io_utilisation", waits=("pressure_io", "cpu_iowait")),),
    "load": (_Resource(name="load", metric="load_per_cpu_5m", limit="load_per_cpu", waits=("pressure_cpu",)),),
    "network": (_Resource(name="network errors", metric="network_errors", limit="network_errors"),),
    "fd": (_Resource(name="open files", metric="open_files_usage", limit="open_files"),),
    "response": (_Resource(name="response time", metric="response_time", limit="response_time"),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """One chart: the metrics of its lines, and the limit that is marked."""

    title: str
    unit: str
    metrics: tuple[str, ...]
    limit: str = ""


_DRAWN: Mapping[str, _Drawn] = {
    "cpu": _Drawn(title="CPU", unit="percent", metrics=("cpu_usage", "cpu_iowait", "cpu_steal"), limit="cpu_usage"),
    "memory": _Drawn(title="Memory", unit="percent", metrics=("memory_usage", "swap_usage"), limit="memory_usage"),
    "disk": _Drawn(title="Disk space", unit="percent", metrics=("disk_usage:*",), limit="disk_usage"),
    "load": _Drawn(title="Load for each CPU", unit="load/CPU", metrics=("load_per_cpu_5m",), limit="load_per_cpu"),
    "pressure": _Drawn(title="Waiting", unit="percent", metrics=("pressure_*",), limit="pressure"),
    "network": _Drawn(title="Network", unit="bytes/s", metrics=("network_receive:*", "network_send:*")),
    "response": _Drawn(title="Response time", unit="ms", metrics=("response_time:*",), limit="response_time"),
}


def drawn(subjects: Sequence[str]) -> tuple[SeriesWanted, ...]:
    """The past of the charts; it is read when a report is made, and not before."""
    metrics = tuple(metric for name in subjects if name in _DRAWN for metric in _DRAWN[name].metrics)
    return (SeriesWanted(name=_PAST, metrics=metrics, ago=float(DAY), step=_STEP),) if metrics else ()


def sections(subjects: Sequence[str], view: View) -> Iterator[Section]:
    """What one host has left, its busiest processes, and its last day."""
    rows = sorted(_rows(subjects, view), key=lambda row: -(row.share or 0.0))
    if rows:
        worst = rows[0]
        said = f"Nearest to its limit is {worst.cells[0]}: {worst.cells[1]} of {worst.cells[2]}." if worst.share else ""
        grid = Grid(columns=_COLUMNS, rows=tuple(row.cells for row in rows))
        yield Section(title="Resources", text=(said,) if said else (), grids=(grid,))
    if busy := _busiest(view):
        yield Section(title="Busiest processes", grids=(Grid(columns=("process", "pid", "user", "uses"), rows=busy),))
    charts = tuple(chart for name in subjects if name in _DRAWN for chart in _chart(_DRAWN[name], view))
    if charts:
        yield Section(title="The last 24 hours", text=("Each point is the mean of 5 minutes.",), charts=charts)


_COLUMNS = ("resource", "used", "limit", "of the limit, percent", "where", "what waits for it")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    cells: tuple[Cell, ...]
    share: float | None
    """How much of the limit is used, in percent."""


def _rows(subjects: Sequence[str], view: View) -> Iterator[_Row]:
    for one in (resource for name in subjects for resource in _RESOURCES.get(name, ())):
        found = _highest(view, one.metric)
        if found is not None:
            yield _row(one, found, view)


def _row(one: _Resource, found: Metric, view: View) -> _Row:
    limit, value = view.limits.get(one.limit), found.value or 0.0
    share = 100.0 * value / limit if limit else None
    waits = (view.seen.metrics.get(name) for name in one.waits)
    told = (f"{metric.name} {amount(metric.value, metric.unit)}" for metric in waits if metric and _known(metric))
    used = (one.name, amount(found.value, found.unit), amount(limit, found.unit))
    rest = (None if share is None else round(share, 1), found.name.partition(":")[2], ", ".join(told))
    return _Row(cells=(*used, *rest), share=share)


def _known(metric: Metric) -> bool:
    return metric.value is not None


def _highest(view: View, name: str) -> Metric | None:
    """The metric, or the highest of its parts, so that it is said where that is."""
    metrics = view.seen.metrics
    parts = [one for part, one in metrics.items() if part.startswith(f"{name}:") and _known(one)]
    whole = metrics.get(name)
    if parts:
        return max(parts, key=lambda one: one.value or 0.0)
    return whole if whole and _known(whole) else None


def _busiest(view: View) -> tuple[tuple[Cell, ...], ...]:
    part = view.part("processes")
    by_cpu = (_process(one, amount(one.get("cpu_percent"), "percent"), "CPU") for one in part.get("top_cpu", ()))
    by_memory = (
        _process(one, amount(one.get("memory_bytes"), "bytes"), "memory") for one in part.get("top_memory", ())
    )
    return (*by_cpu, *by_memory)


def _process(one: Mapping[str, Cell], used: str | None, what: str) -> tuple[Cell, ...]:
    return one.get("name"), one.get("pid"), one.get("user"), None if used is None else f"{used} {what}"


def _chart(one: _Drawn, view: View) -> Iterator[Chart]:
    past = view.seen.series.get(_PAST, {})
    stems = tuple(metric.removesuffix("*") for metric in one.metrics)
    known = {name: points for name, points in past.items() if name.startswith(stems) and len(points) >= _POINTS}
    chosen = sorted(known, key=lambda name: -max(point.high for point in known[name]))[:_LINES]
    lines = tuple(_line(name, known[name]) for name in sorted(chosen))
    limit = view.limits.get(one.limit)
    marks = (Mark(label="limit", value=limit),) if limit is not None else ()
    if lines:
        yield Chart(title=one.title, unit=one.unit, lines=lines, marks=marks)


def _line(name: str, points: Sequence[Point]) -> Line:
    return Line(label=name, points=tuple((point.at, point.mean) for point in points))


# -- all hosts together -------------------------------------------------------------------------------------

_OVERVIEW = ("cpu_usage", "memory_usage", "disk_usage", "load_per_cpu_5m", "response_time")


def overview(metrics: Mapping[str, Mapping[str, Metric]]) -> tuple[Section, ...]:
    """A row for each host, where there are several."""
    shown = [name for name in _OVERVIEW if any(name in one for one in metrics.values())]
    if len(metrics) < 2 or not shown:  # noqa: PLR2004 - one host has sections of its own
        return ()
    rows = tuple((host, *(_told(one.get(name)) for name in shown)) for host, one in metrics.items())
    return (Section(title="All hosts", grids=(Grid(columns=("host", *shown), rows=rows),)),)


def _told(metric: Metric | None) -> str | None:
    return None if metric is None else amount(metric.value, metric.unit)

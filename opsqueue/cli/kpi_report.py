"""Key figures as a report: tables with definitions, the availability of each day, the hosts and types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.cli import kpi_forms
from opsqueue.model.report import Cell, Chart, Grid, Line, Mark, Report, Section
from opsqueue.pipeline.figures import Told, as_json

_COLUMNS = ("KPI", "Value", "n", "Before", "Change", "Note", "Definition")
_PARTS = {
    "availability": "Host",
    "automation_ratio": "Asked for by",
    "error_rate": "Type",
    "throughput": "Type",
    "security_open": "Severity",
}
"""What the parts of a figure are."""


def report(found: Told) -> Report:
    """The figures of a period as a document."""
    data = as_json(found)
    groups = dict.fromkeys(one["group"] for one in data["figures"])
    return Report(
        title="Key figures",
        subtitle=" ".join(kpi_forms.heading(data)),
        sections=tuple(_section(group, data, found) for group in groups),
    )


def _section(group: str, data: Mapping[str, Any], found: Told) -> Section:
    figures = [one for one in data["figures"] if one["group"] == group]
    whole = Grid(columns=_COLUMNS, rows=tuple(_row(one) for one in figures))
    charts = (_calendar(found),) if group == "availability" else ()
    return Section(
        title=group.capitalize(), grids=(whole, *_grids(figures)), charts=tuple(one for one in charts if one.lines)
    )


def _row(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    unit = one["unit"]
    numbers = (kpi_forms.shown(one["value"], unit), one["n"], kpi_forms.shown(one["previous"]["value"], unit))
    return (one["label"], *numbers, kpi_forms.changed(one["change"], unit), one["note"], one["definition"])


def _grids(figures: list[Mapping[str, Any]]) -> Iterator[Grid]:
    for one in figures:
        if one["name"] in _PARTS and one["parts"]:
            rows = [
                (name, kpi_forms.shown(part["value"], one["unit"]), part["n"]) for name, part in one["parts"].items()
            ]
            yield Grid(columns=(_PARTS[one["name"]], one["label"], "n"), rows=tuple(rows))


def _calendar(found: Told) -> Chart:
    """The availability of each day; days of which nothing is known are left out."""
    raw = tuple((at, value) for at, value, _planned in found.days if value is not None)
    planned = tuple((at, value) for at, _raw, value in found.days if value is not None)
    lines = (Line(label="without planned maintenance", points=planned), Line(label="raw", points=raw, dashed=True))
    return Chart(
        title="Availability of each day",
        unit="percent",
        lines=tuple(line for line in lines if len(line.points) > 1),
        marks=(Mark(label="objective", value=found.objective),),
    )

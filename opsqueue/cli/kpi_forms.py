"""Key figures as a table and as CSV."""

from __future__ import annotations

import csv as commas
from collections.abc import Mapping
from io import StringIO
from typing import Any

from opsqueue.cli import times
from opsqueue.cli.output import Out
from opsqueue.cli.render import UNKNOWN
from opsqueue.cli.tables import Narrow

HEADERS = ("KPI", "VALUE", "N", "BEFORE", "CHANGE", "NOTE", "DEFINITION")
NARROW = Narrow(beneath=("DEFINITION", "NOTE"), drops=("CHANGE", "BEFORE"))
COLUMNS = (
    "from", "until", "group", "name", "value", "unit", "n", "previous_value", "previous_n", "change", "note",
    "definition",
)  # fmt: skip
_FORMS = {"percent": "{:.3f} %", "ms": "{:.0f} ms", "days": "{:.1f} d", "ratio": "{:.2f}", "per hour": "{:.2f}/h"}


def shown(value: float | None, unit: str) -> str:
    """A figure with its unit; a dash where there is no number, never 0."""
    if value is None:
        return UNKNOWN
    if unit == "s":
        return times.length(value)
    return _FORMS.get(unit, "{:.0f}").format(value)


def changed(value: float | None, unit: str) -> str:
    """What a figure grew by, with its sign."""
    if value is None:
        return ""
    sign = "+" if value > 0 else "-" if value < 0 else ""
    return sign + shown(abs(value), unit)


def heading(data: Mapping[str, Any]) -> list[str]:
    """What the figures are about, in sentences."""
    period, before = data["period"], data["compared_with"]
    so_far = ", so far" if data["so_far"] else ""
    about = f" of {', '.join(data['systems'])}" if data["systems"] else ""
    so_much = ", as much of it" if data["so_far"] else ""
    return [
        f"Key figures{about} from {period['from_local']} until {period['until_local']}{so_far}, {period['hours']:g} h.",
        f"Before: from {before['from_local']}{so_much}. Objective: {data['slo']:g} %.",
        f"Reckoned at {times.stamp(data['reckoned_at'])}, revision {data['revision']}.",
    ]


def table(out: Out, data: Mapping[str, Any]) -> None:
    """For people, with the definition beside, or beneath, each number."""
    for line in heading(data):
        out.text(line)
    group = ""
    for one in data["figures"]:
        if one["group"] != group:
            group = one["group"]
            out.title(group)
            rows = [_row(figure) for figure in data["figures"] if figure["group"] == group]
            out.rows(HEADERS, rows, narrow=NARROW)


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    unit = one["unit"]
    return (
        one["label"],
        shown(one["value"], unit),
        one["n"],
        shown(one["previous"]["value"], unit),
        changed(one["change"], unit),
        one["note"],
        one["definition"],
    )


def csv(data: Mapping[str, Any]) -> str:
    """One line for each figure; an empty cell where there is no number."""
    text = StringIO()
    writer = commas.writer(text)
    writer.writerow(COLUMNS)
    for one in data["figures"]:
        row = {**one, **{name: data["period"][name] for name in ("from", "until")}}
        row |= {f"previous_{name}": value for name, value in one["previous"].items()}
        writer.writerow([_cell(row[name]) for name in COLUMNS])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@"} else value

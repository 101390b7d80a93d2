"""A report as plain data: sections of words, tables and charts, which the edge shows as HTML, SVG or text."""

from __future__ import annotations

from dataclasses import dataclass

Cell = str | float | int | None
"""What stands in a table; `None` is not known, and shown as a dash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart: points (UNIX time, value), oldest first."""

    label: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False
    """What was not measured but reckoned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A range over time: (UNIX time, lowest, highest), oldest first."""

    label: str
    points: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A level that matters, such as a threshold or a capacity."""

    label: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over time in one unit."""

    title: str
    unit: str
    lines: tuple[Line, ...] = ()
    bands: tuple[Band, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table: titles of columns, then rows of as many cells."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with what belongs under it, in this order: words, tables, charts."""

    title: str
    text: tuple[str, ...] = ()
    """Paragraphs of plain text."""
    grids: tuple[Grid, ...] = ()
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole document."""

    title: str
    subtitle: str = ""
    sections: tuple[Section, ...] = ()

"""A chart as SVG text: axes with units, lines, bands and marks; no script, no style sheet, nothing from outside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from statistics import median

from opsqueue.cli.text import clipped, safe
from opsqueue.model.report import Chart, Line

_WIDTH, _HEIGHT = 760, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 26, 26
_LEGEND_ROW = 18
_COLOURS = ("#1f5fa8", "#b5510f", "#2f7d3b", "#7a3f9d", "#5b5b5b", "#a3243b")
_RED, _GREY, _INK = "#a3243b", "#d8d8d8", "#333333"
_MOST_TICKS = 7
_NEAR = 34
"""So near to the right edge the middle of a date is no place for its word."""
_GAP = 3.0
"""A step so many times longer than usual is a gap: nothing is drawn across it."""
_HOUR, _DAY = 3600, 86_400
_STEPS = (
    60, 300, 900, 1800, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR,
    _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY, 91 * _DAY, 182 * _DAY, 365 * _DAY,
)  # fmt: skip
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_WORDS = {"percent": "%", "count": "", "ratio": "", "state": "", "score": ""}


def svg(chart: Chart, number: int = 1) -> str:
    """The chart as one `<svg>` element; `number` keeps its ids apart from those of other charts on the page."""
    plot = _Plot.of(chart)
    height = _HEIGHT + _LEGEND_ROW * len(_legend(chart))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-labelledby="chart{number}t chart{number}d" font-family="sans-serif" font-size="12" '
        f'fill="{_INK}">'
        f'<title id="chart{number}t">{_text(chart.title)}</title>'
        f'<desc id="chart{number}d">{_text(described(chart))}</desc>'
    )
    if plot is None:
        return f'{head}<text x="{_WIDTH / 2:g}" y="{_HEIGHT / 2:g}" text-anchor="middle">no data</text></svg>'
    parts = (*_axes(plot), *_bands(plot, chart), *_marks(plot, chart), *_lines(plot, chart), *_key(chart))
    return head + "".join(parts) + "</svg>"


def described(chart: Chart) -> str:
    """In words what the chart shows, for those who do not see it."""
    said = [f"{line.label}: {_course(line, chart.unit)}." for line in chart.lines]
    said += [f"{band.label}: a range over {len(band.points)} points." for band in chart.bands]
    said += [f"{mark.label}: {value(mark.value, chart.unit)}." for mark in chart.marks]
    return " ".join(said) or "No data."


def value(number: float, unit: str) -> str:
    """A number with its unit, short."""
    if unit.startswith("bytes"):
        size, name = _binary(abs(number))
        return f"{number / size:.4g} {name}{unit.removeprefix('bytes')}"
    word = _WORDS.get(unit, unit)
    return f"{number:.4g}{' ' if word else ''}{word}"


def _course(line: Line, unit: str) -> str:
    points = _finite(line.points)
    if not points:
        return "no data"
    (began, first), (ended, last) = points[0], points[-1]
    return f"{value(first, unit)} at {_stamp(began)} to {value(last, unit)} at {_stamp(ended)}"


def _text(text: str) -> str:
    return escape(safe(text))


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _finite(points: Iterable[tuple[float, ...]]) -> list[tuple[float, ...]]:
    return [point for point in points if all(map(math.isfinite, point))]


# -- from numbers to places ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plot:
    """Which numbers the two axes span."""

    begin: float
    end: float
    low: float
    high: float
    unit: str
    size: float
    """What a number is divided by before it is written at the axis."""

    @classmethod
    def of(cls, chart: Chart) -> _Plot | None:
        """As wide as all that is drawn; None when that is nothing."""
        points = [point for line in chart.lines for point in _finite(line.points)]
        ranges = [point for band in chart.bands for point in _finite(band.points)]
        times = [point[0] for point in (*points, *ranges)]
        if not times:
            return None
        marks = [mark.value for mark in chart.marks if math.isfinite(mark.value)]
        values = [number for point in (*points, *ranges) for number in point[1:]] + marks
        low, high = _span(min(values), max(values), chart.unit)
        size, name = _binary(high) if chart.unit.startswith("bytes") else (1.0, _WORDS.get(chart.unit, chart.unit))
        unit = name + chart.unit.removeprefix("bytes") if chart.unit.startswith("bytes") else name
        begin, end = min(times), max(times)
        if end <= begin:
            begin, end = begin - _HOUR, begin + _HOUR
        return cls(begin=begin, end=end, low=low, high=high, unit=unit, size=size)

    def x(self, at: float) -> str:
        """The place of a moment."""
        share = (at - self.begin) / (self.end - self.begin)
        return f"{_LEFT + share * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def y(self, number: float) -> str:
        """The place of a value."""
        share = (number - self.low) / (self.high - self.low)
        return f"{_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM):.1f}"


def _span(low: float, high: float, unit: str) -> tuple[float, float]:
    """From where to where the axis of values goes: from zero unless all lies far above it."""
    if unit == "percent" and low >= 0:
        return 0.0, max(100.0, high)
    room = (high - low) * 0.06 or abs(high) * 0.06 or 1.0
    far = low > 0 and high - low < high * 0.3
    return (0.0 if low >= 0 and not far else low - room), high + room


def _binary(number: float) -> tuple[float, str]:
    power = min(int(math.log(number, 1024)), len(_BINARY) - 1) if number >= 1 else 0
    return 1024.0**power, _BINARY[power]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two."""
    raw = (high - low) / _MOST_TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((power * one for one in (1, 2, 5) if power * one >= raw), power * 10)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _moments(begin: float, end: float) -> tuple[float, list[float]]:
    """The step of the axis of time, and its moments."""
    step = next((one for one in _STEPS if (end - begin) / one <= _MOST_TICKS), _STEPS[-1])
    while (end - begin) / step > _MOST_TICKS:
        step *= 2
    first = math.ceil(begin / step)
    return step, [number * step for number in range(first, math.floor(end / step) + 1)]


# -- what is drawn ------------------------------------------------------------------------------------------


def _axes(plot: _Plot) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    yield f'<text x="{_LEFT}" y="14" text-anchor="end">{_text(plot.unit)}</text>' if plot.unit else ""
    for number in _ticks(plot.low / plot.size, plot.high / plot.size):
        y = plot.y(number * plot.size)
        yield f'<line x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="{_GREY}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{number:.10g}</text>'
    step, moments = _moments(plot.begin, plot.end)
    form = "%m-%d %H:%M" if step < _DAY else "%Y-%m-%d"
    for at in moments:
        x, word = plot.x(at), datetime.fromtimestamp(at, UTC).strftime(form)
        yield f'<line x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 5}" stroke="{_INK}"/>'
        anchor = "end" if float(x) > right - _NEAR else "middle"
        yield f'<text x="{x}" y="{bottom + 18}" text-anchor="{anchor}">{word}</text>'
    yield f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="{_INK}"/>'


def _bands(plot: _Plot, chart: Chart) -> Iterator[str]:
    for place, band in enumerate(chart.bands):
        points = _finite(band.points)
        there = [f"{plot.x(at)},{plot.y(high)}" for at, _low, high in points]
        back = [f"{plot.x(at)},{plot.y(low)}" for at, low, _high in reversed(points)]
        if points:
            look = f'fill="{_COLOURS[0]}" fill-opacity="{_opacity(place)}"'
            yield f'<polygon points="{" ".join([*there, *back])}" {look}/>'


def _marks(plot: _Plot, chart: Chart) -> Iterator[str]:
    for mark in chart.marks:
        if math.isfinite(mark.value):
            y = plot.y(mark.value)
            said = _text(f"{clipped(mark.label, 60)}: {value(mark.value, chart.unit)}")
            yield (
                f'<line x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}" stroke="{_RED}" stroke-dasharray="2 3"/>'
            )
            yield f'<text x="{_LEFT + 4}" y="{y}" dy="-4" fill="{_RED}">{said}</text>'


def _lines(plot: _Plot, chart: Chart) -> Iterator[str]:
    for place, line in enumerate(chart.lines):
        style = f'stroke="{_colour(place)}" stroke-width="1.8" fill="none"'
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        for part in _unbroken(_finite(line.points)):
            if len(part) == 1:
                x, y = plot.x(part[0][0]), plot.y(part[0][1])
                yield f'<circle cx="{x}" cy="{y}" r="2" fill="{_colour(place)}"/>'
            else:
                places = " ".join(f"{plot.x(at)},{plot.y(number)}" for at, number in part)
                yield f'<polyline points="{places}" {style}{dash}/>'


def _unbroken(points: Sequence[tuple[float, ...]]) -> Iterator[list[tuple[float, ...]]]:
    """The parts of a line between its gaps."""
    steps = [after[0] - before[0] for before, after in pairwise(points)]
    usual = median(steps) if steps else 0.0
    part: list[tuple[float, ...]] = []
    for place, point in enumerate(points):
        if part and steps[place - 1] > usual * _GAP:
            yield part
            part = []
        part.append(point)
    if part:
        yield part


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _legend(chart: Chart) -> list[tuple[str, str]]:
    """For each line and band how it looks and what it is."""
    lines = [(_stroke(place, line), line.label) for place, line in enumerate(chart.lines)]
    return lines + [(_swatch(place), band.label) for place, band in enumerate(chart.bands)]


def _swatch(place: int) -> str:
    size = 'y="{y}" transform="translate(0,-5)" width="28" height="10"'
    return f'<rect x="{_LEFT}" {size} fill="{_COLOURS[0]}" fill-opacity="{_opacity(place)}"/>'


def _opacity(place: int) -> str:
    """Each further band is darker, for it lies in the one before."""
    return f"{min(0.16 * (place + 1), 0.6):.2f}"


def _stroke(place: int, line: Line) -> str:
    dash = ' stroke-dasharray="6 4"' if line.dashed else ""
    look = f'stroke="{_colour(place)}" stroke-width="1.8"{dash}'
    return f'<line x1="{_LEFT}" x2="{_LEFT + 28}" y1="{{y}}" y2="{{y}}" {look}/>'


def _key(chart: Chart) -> Iterator[str]:
    for place, (look, label) in enumerate(_legend(chart)):
        y = _HEIGHT + _LEGEND_ROW * place + 8
        yield look.replace("{y}", str(y))
        yield f'<text x="{_LEFT + 36}" y="{y}" dy="4">{_text(clipped(label, 90))}</text>'

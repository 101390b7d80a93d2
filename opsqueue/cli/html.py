"""A report as one HTML page that needs nothing else: no script, no picture or style from outside, for mail and print.

All text is escaped, and a policy in the page forbids the reader's program to load or run anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import count

from opsqueue.cli.svg import svg
from opsqueue.cli.text import safe
from opsqueue.model.report import Cell, Chart, Grid, Report, Section

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MANY = 5
"""From so many sections on, the page begins with a list of them."""
_LARGE = 10_000
"""From here on a number is written with a space between its thousands."""
_STYLE = """
body { font: 15px/1.45 sans-serif; color: #222; background: #fff; max-width: 60rem; margin: 1.5rem auto;
  padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 .2rem }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; border-bottom: 1px solid #ccc }
p { margin: .4rem 0; overflow-wrap: anywhere }
.subtitle { color: #555 }
table { border-collapse: collapse; margin: .8rem 0; font-size: .9rem }
th, td { text-align: left; vertical-align: top; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid #e4e4e4;
  overflow-wrap: anywhere }
th { border-bottom-color: #888 }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
figure { margin: 1rem 0 }
figcaption { font-weight: bold; font-size: .95rem }
svg { max-width: 100%; height: auto }
@media print { body { margin: 0; max-width: none; font-size: 10pt } h2 { break-after: avoid }
  figure, tr { break-inside: avoid } nav { display: none } }
"""


def page(report: Report) -> str:
    """The report as a whole document."""
    numbers = count(1)
    sections = "".join(_section(place, one, numbers) for place, one in enumerate(report.sections, 1))
    subtitle = f'<p class="subtitle">{text(report.subtitle)}</p>' if report.subtitle else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(report.title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{text(report.title)}</h1>{subtitle}{_contents(report)}{sections}</main></body></html>\n"
    )


def text(words: object) -> str:
    """Any text for HTML: nothing in it is markup, and nothing is invisible."""
    return escape(safe(words))


def _contents(report: Report) -> str:
    if len(report.sections) < _MANY:
        return ""
    lines = (f'<li><a href="#s{n}">{text(one.title)}</a></li>' for n, one in enumerate(report.sections, 1))
    return f'<nav aria-label="Contents"><ul>{"".join(lines)}</ul></nav>'


def _section(place: int, section: Section, numbers: Iterator[int]) -> str:
    parts = (
        *(f"<p>{text(words)}</p>" for words in section.text),
        *(_grid(grid) for grid in section.grids),
        *(_figure(chart, next(numbers)) for chart in section.charts),
    )
    return f'\n<section><h2 id="s{place}">{text(section.title)}</h2>{"".join(parts)}</section>'


def _grid(grid: Grid) -> str:
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in grid.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in grid.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(cell: Cell) -> str:
    numeric = cell is None or isinstance(cell, int | float)
    return f'<td class="n">{text(said(cell))}</td>' if numeric else f"<td>{text(said(cell))}</td>"


def said(cell: Cell) -> str:
    """What stands in a cell, as text: a dash where nothing is known."""
    if cell is None:
        return "–"  # noqa: RUF001 - a dash, so that nobody reads it as a minus
    if isinstance(cell, float):
        return f"{cell:,.0f}".replace(",", " ") if abs(cell) >= _LARGE else f"{cell:.4g}"
    return str(cell)


def _figure(chart: Chart, number: int) -> str:
    return f"\n<figure><figcaption>{text(chart.title)}</figcaption>{svg(chart, number)}</figure>"

"""Aligned tables; on a terminal no row is wider than it, and what people copy from a row is never cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opsqueue.cli.text import clipped, coloured, columns_of, safe

_LEAST_COLUMN = 8
_GAP = "  "
_INDENT = "    "
_WHOLE = frozenset({"ID", "HOST", "STATUS", "STATE", "ENDED", "FROM", "UNTIL", "WRITTEN"})
"""Columns that are shown whole or not at all: half an id, host or time is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrow:
    """What a table does on a terminal that is too narrow, in this order; then the widest texts are shortened."""

    beneath: tuple[str, ...] = ()
    """Columns that get lines of their own beneath their row."""
    drops: tuple[str, ...] = ()
    """Columns that are left out, the first one first."""
    last: tuple[str, ...] = ()
    """Columns that are left out when not even the shortened texts fit."""


@dataclass(slots=True)
class _Table:
    """A table on its way to fit."""

    headers: list[str]
    rows: list[list[str]]
    below: list[list[str]]
    """For each row the texts that stand beneath it."""

    def widths(self) -> list[int]:
        """Of each column, uncut."""
        return [max(map(columns_of, column)) for column in zip(self.headers, *self.rows, strict=True)]

    def least(self) -> int:
        """Columns that it takes with every text shortened as far as it goes."""
        pairs = zip(self.headers, self.widths(), strict=True)
        return _total([width if name in _WHOLE else min(width, _LEAST_COLUMN) for name, width in pairs])

    def without(self, name: str) -> None:
        """Leave a column out."""
        if name in self.headers and len(self.headers) > 1:
            place = self.headers.index(name)
            del self.headers[place]
            for row in self.rows:
                del row[place]

    def move(self, name: str) -> None:
        """Put a column beneath the rows."""
        if name in self.headers:
            place = self.headers.index(name)
            for row, texts in zip(self.rows, self.below, strict=True):
                if row[place]:
                    texts.append(f"{name.lower()}: {row[place]}")
            self.without(name)


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    width: int | None = None,
    colour: bool = False,
    narrow: Narrow | None = None,
) -> list[str]:
    """The lines of an aligned table; made to fit into `width` columns if given, whole otherwise."""
    cells = [[safe("" if cell is None else cell) for cell in row] for row in rows]
    shown = _Table([safe(name) for name in headers], cells, [[] for _ in cells])
    if width is not None:
        _fit(shown, width, narrow or Narrow())
    widths = _shortened(shown, width)
    lines = [_line(shown.headers, widths, colour=False)]
    for row, texts in zip(shown.rows, shown.below, strict=True):
        lines.append(_line(row, widths, colour=colour))
        for text in texts:
            lines += [_INDENT + part for part in wrapped(text, (width or 0) - len(_INDENT))]
    return lines


def _fit(shown: _Table, width: int, narrow: Narrow) -> None:
    for change, names in ((shown.move, narrow.beneath), (shown.without, narrow.drops)):
        for name in names:
            if _total(shown.widths()) > width:
                change(name)
    for name in narrow.last:
        if shown.least() > width:
            shown.without(name)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _shortened(shown: _Table, most: int | None) -> list[int]:
    widths = shown.widths()
    texts = [place for place, name in enumerate(shown.headers) if name not in _WHOLE]
    # On a terminal for which even an id and a host are too wide, everything is shortened: a row never wraps.
    for places, least in ((texts, _LEAST_COLUMN), (texts, 1), (range(len(widths)), 1)):
        while most is not None and places and _total(widths) > most:
            widest = max(places, key=lambda place: widths[place])
            if widths[widest] <= least:
                break
            widths[widest] -= 1
    return widths


def _line(row: Sequence[str], widths: Sequence[int], *, colour: bool) -> str:
    cells = [clipped(cell, most) for cell, most in zip(row, widths, strict=True)]
    padded = [cell + " " * (most - columns_of(cell)) for cell, most in zip(cells, widths, strict=True)]
    padded[-1] = cells[-1]
    return _GAP.join(coloured(cell, colour=colour) for cell in padded).rstrip()


def wrapped(text: str, most: int) -> Iterator[str]:
    """A text in lines of at most so many columns, broken between words; a longer word is broken itself."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if columns_of(longer) <= most:
            line = longer
            continue
        if line:
            yield line
        line = word
        while columns_of(line) > most:
            head = clipped(line, max(most, 2) + 1).removesuffix("…") or line[:1]
            yield head
            line = line[len(head) :]
    if line:
        yield line

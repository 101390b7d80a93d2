"""Text for a terminal: nothing that a host or a request wrote can move the cursor, and columns are aligned."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from opsqueue.telemetry import printable

_LEAST_COLUMN = 8
_GAP = "  "
# They turn the order of letters round or are not seen at all, so that a text can show another than it is.
_DECEIVING = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_PALETTE: Mapping[str, str] = {
    **dict.fromkeys(("succeeded", "unchanged", "ok", "pass", "open", "accepted", "✓"), "32"),
    **dict.fromkeys(("waiting", "retrying", "warn", "hold", "warning", "partial", "queued", "coming", "skipped"), "33"),
    **dict.fromkeys(
        (
            "failed",
            "denied",
            "deny",
            "fail",
            "critical",
            "unknown",
            "unreachable",
            "rolled_back",
            "dead",
            "✗",
            "active",
        ),
        "31",
    ),
}


def safe(value: object) -> str:
    """One line in which every control character is visible, whoever wrote it."""
    return _DECEIVING.sub(lambda found: f"\\u{ord(found.group()):04x}", printable(str(value)))


def safe_lines(output: str) -> list[str]:
    """The output of a command, line by line, as `safe`; tabs become spaces."""
    return [safe(line) for line in output.expandtabs().replace("\r\n", "\n").split("\n")]


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def clipped(text: str, most: int) -> str:
    """The beginning of a text that takes at most so many columns, with … where something is left out."""
    if columns_of(text) <= most:
        return text
    kept, used = "", 1
    for letter in text:
        used += _columns(letter)
        if used > most:
            break
        kept += letter
    return kept + "…"


def coloured(word: str, *, colour: bool) -> str:
    """A word such as `failed` in its colour, if it has one and colours are wanted."""
    code = _PALETTE.get(word.strip()) if colour else None
    return f"\x1b[{code}m{word}\x1b[0m" if code else word


def table(
    headers: Sequence[str], rows: Sequence[Sequence[object]], *, width: int | None = None, colour: bool = False
) -> list[str]:
    """The lines of an aligned table; cut to `width` columns if given, whole otherwise."""
    cells = [[safe("" if cell is None else cell) for cell in row] for row in rows]
    widths = _widths([list(headers), *cells], width)
    lines = [_line(headers, widths, colour=False)]
    return [*lines, *(_line(row, widths, colour=colour) for row in cells)]


def _widths(cells: Sequence[Sequence[str]], most: int | None) -> list[int]:
    widths = [max(map(columns_of, column)) for column in zip(*cells, strict=True)]
    if most is None:
        return widths
    while sum(widths) + len(_GAP) * (len(widths) - 1) > most and max(widths) > _LEAST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return widths


def _line(row: Sequence[str], widths: Sequence[int], *, colour: bool) -> str:
    cells = [clipped(cell, most) for cell, most in zip(row, widths, strict=True)]
    padded = [cell + " " * (most - columns_of(cell)) for cell, most in zip(cells, widths, strict=True)]
    padded[-1] = cells[-1]
    return _GAP.join(coloured(cell, colour=colour) for cell in padded).rstrip()

"""Text for a terminal: nothing that a host or a request wrote can move the cursor."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from opsqueue.telemetry import printable

# They turn the order of letters round or are not seen at all, so that a text can show another than it is.
_DECEIVING = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_PALETTE: Mapping[str, str] = {
    **dict.fromkeys(("succeeded", "unchanged", "ok", "healthy", "pass", "open", "accepted", "✓"), "32"),
    **dict.fromkeys(
        (
            "waiting",
            "checking",
            "rolling_back",
            "retrying",
            "warn",
            "hold",
            "warning",
            "partial",
            "queued",
            "coming",
            "skipped",
        ),
        "33",
    ),
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
            "rollback_failed",
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


def coloured(word: str, *, colour: bool, like: str = "") -> str:
    """A word such as `failed` in its colour, or in that of the word it is `like`, if colours are wanted."""
    code = _PALETTE.get((like or word).strip()) if colour else None
    return f"\x1b[{code}m{word}\x1b[0m" if code else word

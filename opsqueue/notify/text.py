"""Text that came from outside, made safe to show: one line, bounded, nothing that steers its reader."""

from __future__ import annotations

import unicodedata


def one_line(text: object, most: int = 250) -> str:
    """The text as one line of at most `most` characters, with what could steer a terminal or a mail escaped."""
    escaped = "".join(_visible(char) for char in str(text)[: most + 1])
    return escaped if len(escaped) <= most else escaped[: most - 1] + "…"


def shorten(text: str, most: int) -> str:
    """The text in at most `most` characters: cut at a line, the last line kept, `… n more lines` between."""
    if len(text) <= most:
        return text
    *lines, last = text.split("\n")
    room = most - len(last) - len(f"… {len(lines)} more lines") - 2
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    if not kept:
        return text[: max(most - 1, 0)] + "…"
    return "\n".join((*kept, f"… {len(lines) - len(kept)} more lines", last))


def _visible(char: str) -> str:
    # Cc: C0, C1 and DEL; Cs: halves of a pair, which cannot be sent; Zl, Zp: further line ends.
    steers = unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
    # These turn the direction of what is read after them, so that a name can pretend to be another one.
    turns = "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069" or char in "\u200e\u200f\u061c"
    return char.encode("unicode_escape").decode() if steers or turns else char

"""The nearest known word; `settings` has the same, but costs 0.1 s to import and is not needed for `--help`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` where a known word is near."""
    folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.5)
    return f"; did you mean {folded[found[0]]!r}?" if found else ""

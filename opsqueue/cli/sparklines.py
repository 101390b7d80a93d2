"""Small pictures of numbers over time, one letter for each, on one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LETTERS = "▁▂▃▄▅▆▇█"
GAP = " "
"""Where nothing is known, which is never the same as little."""

Past = Sequence[float | None]


def sparkline(values: Past, top: float) -> str:
    """A letter for each value, from 0 to `top` and beyond; nothing when nothing is known."""
    if all(value is None for value in values):
        return ""
    return "".join(GAP if value is None else _letter(value / top if top > 0 else 0.0) for value in values).rstrip()


def _letter(share: float) -> str:
    return LETTERS[min(len(LETTERS) - 1, max(0, int(share * len(LETTERS))))]


def cells(values: Iterable[tuple[float, float]], *, since: float, until: float, many: int, stale: float) -> Past:
    """The mean of the values (UNIX time, value) in each of so many equal parts of a time.

    A part without any keeps the value before it for `stale` seconds; after that it is not known.
    """
    size = (until - since) / many
    parts: list[list[float]] = [[] for _ in range(many)]
    last: list[float] = [float("-inf")] * many
    for at, value in values:
        if since <= at <= until:
            place = min(many - 1, int((at - since) / size))
            parts[place].append(value)
            last[place] = at
    found: list[float | None] = []
    known: tuple[float, float] | None = None
    for place, part in enumerate(parts):
        if part:
            known = last[place], sum(part) / len(part)
        fresh = known is not None and since + place * size - known[0] < stale
        found.append(known[1] if known and fresh else None)
    return found

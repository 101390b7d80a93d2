"""Times as spans: their union, what is left of them without others, their length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from opsqueue.model.observed import Span

Number = TypeVar("Number", float, int)


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time in spans that neither touch nor overlap, in order."""
    joined: list[Span] = []
    for begin, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def clipped(spans: Iterable[Span], since: float, until: float) -> list[Span]:
    """What of them lies in the time from `since` to `until`."""
    cut = ((max(begin, since), min(end, until)) for begin, end in spans)
    return [span for span in cut if span[0] < span[1]]


def without(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """What is left of them when the holes are taken out."""
    left: list[Span] = []
    gaps = union(holes)
    for begin, end in union(spans):
        at = begin
        for gone, back in gaps:
            if gone >= end:
                break
            if back > at:
                left.append((at, gone))
                at = back
        left.append((at, end))
    return [span for span in left if span[0] < span[1]]


def total(spans: Iterable[Span]) -> float:
    """Seconds in all of them, which do not overlap."""
    return sum(end - begin for begin, end in spans)


def rank(values: Sequence[Number], percent: int) -> Number | None:
    """The value that so many percent of the sorted ones do not exceed (nearest rank); None of none."""
    return values[max(0, -(-len(values) * percent // 100) - 1)] if values else None

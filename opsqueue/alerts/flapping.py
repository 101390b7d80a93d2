"""Flapping: how often the last 21 results changed, newer changes counting more (as Nagios, Naemon and Sensu do)."""

from __future__ import annotations

from itertools import pairwise

RESULTS = 21
START = 30.0
"""Percent of change at which flapping begins."""
STOP = 10.0
"""Percent below which it ends."""
_OLDEST, _NEWEST = 0.8, 1.2


def change(history: str) -> float:
    """Percent of change in a history of results, oldest first; 0 while there are fewer than 21."""
    if len(history) < RESULTS:
        return 0.0
    last = history[-RESULTS:]
    steps = RESULTS - 1
    weights = (_OLDEST + (_NEWEST - _OLDEST) * index / (steps - 1) for index in range(steps))
    pairs = pairwise(last)
    changed = sum(weight for weight, (before, after) in zip(weights, pairs, strict=True) if before != after)
    return 100.0 * changed / steps


def flaps(history: str, *, now: bool) -> bool:
    """Whether it flaps, given whether it did: between the two limits it stays as it was."""
    found = change(history)
    return found >= STOP if now else found >= START


def remember(history: str, result: bool) -> str:
    """The history with one more result."""
    return (history + ("1" if result else "0"))[-RESULTS:]

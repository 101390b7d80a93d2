"""Whether two rows of measurements differ by more than noise: medians, and the exact test of Mann and Whitney.

No distribution is assumed. Up to eight of a kind every way to divide the values is counted, ties included; beyond
that the normal approximation with its correction for ties is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, fmean, median, stdev

_EXACT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of measurements in short."""

    count: int
    median: float
    mad: float
    """Median of the distances from the median."""
    cv: float
    """Standard deviation by mean; 0.05 is five percent."""
    low: float
    high: float


def short(values: Sequence[float]) -> Row:
    """A row of at least one value in short."""
    middle, mean = median(values), fmean(values)
    spread = stdev(values) if len(values) > 1 else 0.0
    return Row(
        count=len(values),
        median=middle,
        mad=median(abs(value - middle) for value in values),
        cv=spread / abs(mean) if mean else (math.inf if spread else 0.0),
        low=min(values),
        high=max(values),
    )


def rank_sum(one: Sequence[float], two: Sequence[float]) -> float:
    """How many pairs have the greater value in `two`; a tie counts half."""
    return sum((b > a) + (b == a) / 2 for a in one for b in two)


def chance(one: Sequence[float], two: Sequence[float]) -> float:
    """The two-sided probability of a difference like this, or a greater one, where there is none."""
    n, m = len(one), len(two)
    middle = n * m / 2
    away = abs(rank_sum(one, two) - middle)
    if max(n, m) <= _EXACT:
        return _exact(_ranks([*one, *two]), n, m, away)
    both = [*one, *two]
    ties = sum(both.count(value) ** 3 - both.count(value) for value in set(both))
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    return 2 * (1 - NormalDist().cdf(max(0.0, away - 0.5) / math.sqrt(variance)))


def _ranks(values: Sequence[float]) -> list[float]:
    return [sum((other < value) + (other == value) / 2 for other in values) + 0.5 for value in values]


def _exact(ranks: Sequence[float], n: int, m: int, away: float) -> float:
    least = m * (m + 1) / 2
    ways = hits = 0
    for chosen in combinations(ranks, m):
        ways += 1
        hits += abs(sum(chosen) - least - n * m / 2) >= away - 1e-9
    return hits / ways


def shift(one: Sequence[float], two: Sequence[float]) -> tuple[float, float, float]:
    """The median of all differences `two - one`, and where it lies with about 95 percent confidence."""
    differences = sorted(b - a for a in one for b in two)
    n, m = len(one), len(two)
    out = NormalDist().inv_cdf(0.975) * math.sqrt(n * m * (n + m + 1) / 12)
    skip = max(0, min(math.floor(n * m / 2 - out), (n * m - 1) // 2))
    return median(differences), differences[skip], differences[-1 - skip]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Before and after of one benchmark; `effect` is in percent of the old median, positive where it is better."""

    name: str
    old: Row
    new: Row
    effect: float
    low: float
    high: float
    chance: float
    verdict: str
    """improved, worse, same or inconclusive."""

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.verdict}; median {self.old.median:g} before, {self.new.median:g} after "
            f"({self.effect:+.1f} percent, 95 percent interval {self.low:+.1f} to {self.high:+.1f}, "
            f"p={self.chance:.3f}, variation {self.old.cv:.1%} and {self.new.cv:.1%}, {self.old.count} pairs)"
        )


def compared(
    name: str,
    old: Sequence[float],
    new: Sequence[float],
    *,
    better: str,
    max_cv: float,
    min_effect: float,
    alpha: float,
) -> Compared:
    """What can be said; too much variation never counts as improved or the same."""
    one, two, sign = short(old), short(new), -1 if better == "lower" else 1
    base = abs(one.median) or abs(two.median)
    scale = 100 * sign / base if base else 0.0
    middle, low, high = (value * scale for value in shift(old, new))
    p = chance(old, new)
    noisy = max(one.cv, two.cv) > max_cv
    clear = p < alpha and abs(middle) >= min_effect
    if clear and middle < 0:
        verdict = "worse"
    elif noisy:
        verdict = "inconclusive"
    else:
        verdict = "improved" if clear else "same"
    return Compared(
        name=name, old=one, new=two, effect=middle, low=min(low, high), high=max(low, high), chance=p, verdict=verdict
    )

"""The numbers of a host that were measured before, as long as they count: a condition may ask for several together."""

from __future__ import annotations

from collections.abc import Mapping

from opsqueue.model.sample import DAY, Last

_MISSED = 3
"""Intervals, as for all that is missing."""


def fresh(known: Mapping[str, Last], at: float, interval: float) -> dict[str, float]:
    """Those that still count at this moment: for three intervals, or of their own distances where these are longer.

    A distance of more than a day says that nobody looked, and not how often anybody does.
    """
    return {
        name: one.value for name, one in known.items() if at - one.at <= _MISSED * max(interval, min(one.every, DAY))
    }

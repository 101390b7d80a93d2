"""How much time is left while windows are open together, and whether there is more another time.

Several collections are meant together: of each at least one window has to be open, as in `model.window.together`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf

from opsqueue.model.window import Window, together

_OPENINGS = 40
"""How many openings are looked at: a month of a daily window, so that a monthly one beside it is seen."""
LATE = 300.0
"""Seconds after an opening until work has begun in it at the latest, usually: hosts are looked at before. Without them
what takes just as long as the window would be too late for each opening, and wait for ever."""

Together = Sequence[Collection[Window]]


def too_short(each: Together, at: float, seconds: float) -> tuple[float, float] | None:
    """When they close, and when they open for so many seconds, if they are open now and for less than that.

    None where it is long enough, and where it is so at none of the next openings, or none that leaves `LATE` besides:
    to wait would not help.
    """
    ends = _closing(each, at)
    opens = _later(each, ends, seconds) if at < ends < at + seconds else None
    return None if opens is None else (ends, opens)


def _later(each: Together, after: float, seconds: float) -> float | None:
    for _ in range(_OPENINGS):
        opens = together(each, after)
        if opens is None:
            return None
        after = _closing(each, opens)
        if after - opens >= seconds + LATE:
            return opens
    return None


def _closing(each: Together, at: float) -> float:
    """When they are not open together any more, `at` where they are not; infinite: not within the horizon."""
    return min((_last(windows, at) for windows in each), default=inf)


def _last(windows: Collection[Window], at: float) -> float:
    """When none of these is open any more; what begins in one that it may overrun has no such time."""
    if any(window.overrun and window.contains(at) for window in windows):
        return inf
    until = at
    for _ in range(_OPENINGS):  # one may open where another closes
        ends = [window.closes(until) for window in windows if window.contains(until)]
        if not ends:
            break
        until = max(inf if end is None else end for end in ends)
        if until == inf:
            break
    return until

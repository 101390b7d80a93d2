"""When a maintenance window does not open although its rule names the time: such a day or such a time is not there."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from opsqueue.model.window import Window

_OFTEN = 4
"""So many of each weekday are in every month."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A month (`2026-04`) or a date (`2026-03-29`) on which it does not open, and why."""

    when: str
    why: str


def left_out(window: Window, since: float, until: float) -> tuple[LeftOut, ...]:
    """What is left out between two UNIX times, months as a whole, in order."""
    first, last = (datetime.fromtimestamp(at, window.zone).date() for at in (since, until))
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    skipped = (LeftOut(when=day.isoformat(), why="the clock skips it") for day in days if _skipped(window, day))
    return tuple(sorted((*_months(window, first, last), *skipped), key=lambda one: one.when))


def _months(window: Window, first: date, last: date) -> Iterator[LeftOut]:
    """The months that have no fifth one of this weekday."""
    if window.ordinal <= _OFTEN:
        return
    for number in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        year, month = number // 12, number % 12 + 1
        length = calendar.monthrange(year, month)[1]
        if not any(window.starts_on(date(year, month, day)) for day in range(1, length + 1)):
            yield LeftOut(when=f"{year}-{month:02}", why="it has no such day")


def _skipped(window: Window, day: date) -> bool:
    """Whether all of what begins on this date lies in a time that a change of the clock leaves out."""
    if not window.starts_on(day):
        return False
    begins = datetime(day.year, day.month, day.day) + timedelta(minutes=window.start)  # noqa: DTZ001 - a wall time
    return _gap(begins, window.zone) >= timedelta(minutes=window.end - window.start) and _gap(
        begins + timedelta(minutes=window.end - window.start, seconds=-1), window.zone
    ) > timedelta(0)


def _gap(wall: datetime, zone: ZoneInfo) -> timedelta:
    """How long the gap is in which this wall time lies; nothing where there is such a time."""
    before, after = (wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0) for fold in (0, 1))
    return max(after - before, timedelta(0))

"""The daily values of one series, from where they can be compared: what a resize, a gap or a reset does to them.

The value of a day is its highest one, or the 95th percentile for what is used in bursts; never the mean. Today counts
only when it is above yesterday already: half a day has not seen its highest value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from opsqueue.model.amount import size
from opsqueue.model.sample import Point

DAY = 86_400
LONG_GAP = 14
"""Days without any value after which the past says nothing of the present any more."""
_RESIZED = 0.01
"""Share by which a total differs when the volume was made larger or smaller."""
_OFTEN = 4
"""So many changes of the total are no resizes: the room is shared with others."""
_LARGEST = 1e100
"""No number of a real machine is as large; the squares of those that are can not be reckoned with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The days of one series that can be compared with each other, oldest first."""

    name: str
    """Of the metric."""
    unit: str = "percent"
    days: tuple[int, ...] = ()
    """Days since 1970, UTC."""
    values: tuple[float, ...] = ()
    today: int = 0
    notes: tuple[str, ...] = ()
    """What was left out, and why, in words."""

    @property
    def length(self) -> int:
        """Days from the first to the last one."""
        return self.days[-1] - self.days[0] + 1 if self.days else 0

    @property
    def missing(self) -> int:
        """Days in between of which there is no value."""
        return self.length - len(self.days)

    @property
    def age(self) -> int:
        """Days from the last value to today."""
        return self.today - self.days[-1] if self.days else 0

    def steps(self) -> list[float]:
        """The change of each day; that over a gap is shared out over its days, so that a gap makes no growth."""
        found: list[float] = []
        for (day, value), (later, after) in pairwise(zip(self.days, self.values, strict=True)):
            found += [(after - value) / (later - day)] * (later - day)
        return found

    def until(self, day: int) -> Course:
        """As it was known at the end of that day."""
        kept = [place for place, one in enumerate(self.days) if one <= day]
        return Course(
            name=self.name,
            unit=self.unit,
            days=tuple(self.days[place] for place in kept),
            values=tuple(self.values[place] for place in kept),
            today=day + 1,
        )


@dataclass(slots=True)
class _Cut:
    """From which day on the values count, and why."""

    begin: int
    notes: list[str] = field(default_factory=list)

    def after(self, day: int, why: str) -> None:
        """Nothing before that day counts."""
        self.begin = max(self.begin, day)
        self.notes.append(why)


def course(
    name: str, points: Sequence[Point], at: float, *, burst: bool = False, totals: Mapping[int, float] | None = None
) -> Course:
    """The comparable days of a series up to the moment `at`; `totals`: bytes of the volume by day, where known."""
    today = int(at // DAY)
    values = {int(point.at // DAY): point.p95 if burst else point.high for point in points}
    values = {day: value for day, value in sorted(values.items()) if day <= today and abs(value) < _LARGEST}
    _drop_unfinished(values, today)
    days = list(values)
    cut = _Cut(days[0] if days else today)
    _resizes(cut, totals or {})
    _gaps(cut, days)
    kept = [day for day in days if day >= cut.begin]
    return Course(
        name=name, days=tuple(kept), values=tuple(values[day] for day in kept), today=today, notes=tuple(cut.notes)
    )


def _drop_unfinished(values: dict[int, float], today: int) -> None:
    """Forget today's value unless it is above the last whole day's."""
    whole = [day for day in values if day < today]
    if today in values and whole and values[today] <= values[whole[-1]]:
        del values[today]


def _gaps(cut: _Cut, days: Sequence[int]) -> None:
    for day, later in pairwise(days):
        if later - day > LONG_GAP and later > cut.begin:
            cut.after(later, f"nothing is known of {later - day - 1} days, so that only what came after them counts")


def _resizes(cut: _Cut, totals: Mapping[int, float]) -> None:
    changes = [
        (later, before, after)
        for (_, before), (later, after) in pairwise(sorted(totals.items()))
        if abs(after - before) > before * _RESIZED
    ]
    if len(changes) >= _OFTEN:
        cut.notes.append("its total changes all the time, as where file systems share their room: taken as it is")
        return
    for day, before, after in changes:
        # The day on which it grew shows its old, higher value yet; the day on which it shrank its new one.
        if day > cut.begin:
            why = f"resized from {size(before)} to {size(after)}: only the days since then count"
            cut.after(day, why)

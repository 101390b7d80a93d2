"""How good the forecasts of earlier runs were: each was stored as a metric, and is compared with the day that came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from opsqueue.model.kind import Metric, Seen
from opsqueue.operations.capacity.days import DAY
from opsqueue.operations.capacity.outlook import Outlook

AHEAD = (7, 30)
"""Days ahead of which each run writes its forecast down."""
_PARTS = ("low", "likely", "high")
PREFIX = "forecast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """One forecast and what came of it."""

    made: int
    """The day on which it was made, and the one that it was about; since 1970."""
    about: int
    low: float
    likely: float
    high: float
    value: float
    before: float | None
    """The value of the day before it was made: what "it stays as it is" would have said."""

    @property
    def error(self) -> float:
        """How far off it was."""
        return abs(self.likely - self.value)

    @property
    def inside(self) -> bool:
        """Whether what came lay in the range."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """All forecasts so many days ahead of one series that can be judged by now."""

    name: str
    ahead: int
    came: tuple[Came, ...] = ()
    left_out: int = 0
    """Forecasts whose volume was resized meanwhile, or of whose day nothing is known."""

    @property
    def error(self) -> float | None:
        """The mean error, in the unit of the series."""
        return fmean(one.error for one in self.came) if self.came else None

    @property
    def plain_error(self) -> float | None:
        """The mean error of "it stays as it is"."""
        errors = [abs(one.before - one.value) for one in self.came if one.before is not None]
        return fmean(errors) if errors else None

    @property
    def coverage(self) -> float | None:
        """Percent of the days that lay in the range."""
        return 100 * fmean(one.inside for one in self.came) if self.came else None


def forecasts(one: Outlook, interval: float) -> Iterator[Metric]:
    """What is written down of this outlook, to be compared later: for the day so many days from today."""
    if one.found is None:
        return
    for ahead in AHEAD:
        at = one.found.at(ahead + one.course.age, interval)
        for part in _PARTS:
            yield Metric(name=_named(part, one.name, ahead), value=round(getattr(at, part), 4), unit=one.course.unit)


def _named(part: str, name: str, ahead: int) -> str:
    first = PREFIX if part == "likely" else f"{PREFIX}_{part}"
    return f"{first}:{name}:{ahead}d"


def scorecards(one: Outlook, seen: Seen) -> tuple[Scorecard, ...]:
    """How the earlier forecasts of this series came out; only those that can be judged."""
    found = (_card(one, seen, ahead) for ahead in AHEAD)
    return tuple(card for card in found if card.came or card.left_out)


def _card(one: Outlook, seen: Seen, ahead: int) -> Scorecard:
    past = seen.series.get("forecasts", {})
    parts = [{int(p.at // DAY): p.mean for p in past.get(_named(part, one.name, ahead), ())} for part in _PARTS]
    values = {
        day: value for day, value in zip(one.course.days, one.course.values, strict=True) if day < one.course.today
    }
    came, left_out = [], 0
    for made in sorted(set.intersection(*map(set, parts))):
        about = made + ahead
        if about >= one.course.today:
            continue
        if about not in values or made < one.course.days[0]:
            left_out += 1
            continue
        low, likely, high = (part[made] for part in parts)
        before = values.get(made - 1)
        came.append(Came(made=made, about=about, low=low, likely=likely, high=high, value=values[about], before=before))
    return Scorecard(name=one.name, ahead=ahead, came=tuple(came), left_out=left_out)

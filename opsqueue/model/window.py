"""Maintenance windows: when changes are allowed, told by the wall clock of a time zone.

One definition, from which the rest follows: an instant is inside a window if the local wall time then lies
in [start, end) of an occurrence whose date condition holds for the date on which it *starts*. So nothing
here treats daylight saving time as special: a window in the spring gap is shorter or does not occur, one in
the autumn fold is longer or occurs twice. All instants are UNIX seconds, all results exact to the second.
"""

from __future__ import annotations

import calendar
import difflib
import heapq
import math
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from opsqueue.errors import InvalidRequest
from opsqueue.model.names import TYPE_ALIASES

Policy = Literal["defer", "reject"]

HORIZON_DAYS = 400
"""How far ahead is looked: more than a year, so that every date rule (a fifth Sunday) comes round in it."""

_DAY_SECONDS = 86_400
_DAY_MINUTES = 1440
_EPOCH = date(1970, 1, 1).toordinal()
_LAST = -1
_POLICIES: dict[str, Policy] = {"defer": "defer", "reject": "reject"}
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": _LAST}
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAYS = {name: number for number, day in enumerate(_DAYS) for name in (day, day[:3])}
_FORMS = "`02:00-04:00`, `Sunday 01:00-05:00` or `First Sunday 00:00-06:00`"
_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2})")
# In the zone directory of many systems, yet no zones of their own: `right/` counts leap seconds (27 s off),
# the others mean whatever this machine is set to.
_NO_ZONE = re.compile(r"(?:right|posix)/.*|localtime|posixrules|Factory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One open stretch. `closes` is `None` when it does not close within the horizon."""

    opens: float
    closes: float | None

    @property
    def seconds(self) -> float | None:
        """How long it really is open, changes of the clock counted."""
        return None if self.closes is None else self.closes - self.opens


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time in which changes are allowed. Made by `parse_window`; empty scopes mean everything."""

    name: str
    spec: str
    """As it was written."""
    timezone: str = "UTC"
    hosts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    policy: Policy = "defer"
    """Whether an operation outside it waits, or is denied."""
    overrun: bool = False
    """Whether work may begin in it that will not be over when it closes."""
    permit: bool = True
    """Whether changes wait for it, and are allowed in it."""
    mute: bool = False
    """Whether alerts about its hosts are kept quiet in it."""
    start: int
    """Minutes after midnight of the date on which it starts."""
    end: int
    """Likewise; 1440 is 24:00, more lies on the next date."""
    weekdays: frozenset[int]
    """Monday is 0."""
    ordinal: int = 0
    """Which of these weekdays in the month: 1 to 5, -1 the last, 0 each."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone whose wall clock counts."""
        return ZoneInfo(self.timezone)

    def covers(self, host_name: str, groups: Collection[str], operation_type: str) -> bool:
        """Whether it speaks for this type on this host: (hosts or groups match) and types match."""
        if self.types and operation_type not in self.types:
            return False
        if not self.hosts and not self.groups:
            return True
        return host_name in self.hosts or any(group in self.groups for group in groups)

    def starts_on(self, day: date) -> bool:
        """Whether the date condition holds for a date."""
        if day.weekday() not in self.weekdays:
            return False
        if self.ordinal == _LAST:
            return day.day + 7 > calendar.monthrange(day.year, day.month)[1]
        return self.ordinal in {0, (day.day - 1) // 7 + 1}

    def contains(self, at: float) -> bool:
        """Whether it is open at this instant."""
        wall = datetime.fromtimestamp(math.floor(at), self.zone)
        minute = wall.hour * 60 + wall.minute
        if self.start <= minute < self.end and self.starts_on(wall.date()):
            return True
        return minute + _DAY_MINUTES < self.end and self.starts_on(wall.date() - timedelta(days=1))

    def opens(self, after: float) -> float | None:
        """The first instant at or after this one at which it is open; None: not within the horizon."""
        if self.contains(after):
            return after
        return next((edge for edge in self._edges(after) if self.contains(edge)), None)

    def closes(self, at: float) -> float | None:
        """When the stretch that is open now ends; None: it is closed, or stays open for the horizon."""
        if not self.contains(at):
            return None
        return next((edge for edge in self._edges(at) if not self.contains(edge)), None)

    def occurrences(self, after: float, count: int) -> tuple[Occurrence, ...]:
        """The next open stretches in order; one that is open already is given from `after` on."""
        found: list[Occurrence] = []
        opens = self.opens(after)
        while opens is not None and len(found) < count:
            closes = self.closes(opens)
            found.append(Occurrence(opens=opens, closes=closes))
            opens = None if closes is None else self.opens(closes)
        return tuple(found)

    def _edges(self, after: float) -> Iterator[float]:
        """Every later instant at which it may open or close, in order; some of them change nothing."""
        waiting: list[float] = []
        first = datetime.fromtimestamp(math.floor(after), self.zone).date().toordinal() - 2
        for number in range(first, first + HORIZON_DAYS + 3):
            # No zone is a day or more away from UTC, so no edge of this date or a later one lies before this.
            safe = (number - 1 - _EPOCH) * _DAY_SECONDS
            while waiting and waiting[0] < safe:
                yield heapq.heappop(waiting)
            day = date.fromordinal(number)
            for edge in self._edges_of(day) if self.starts_on(day) else ():
                if edge > after:
                    heapq.heappush(waiting, edge)
        while waiting:
            yield heapq.heappop(waiting)

    def _edges_of(self, day: date) -> Iterator[float]:
        """The instants at which the occurrence that starts on this date may open or close."""
        zone = self.zone
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
        for minutes in (self.start, self.end):
            wall = midnight + timedelta(minutes=minutes)
            early, late = sorted(wall.replace(fold=fold).timestamp() for fold in (0, 1))
            yield early
            if early != late:
                # This wall time occurs twice or never, so the change of the clock may be the edge as well.
                yield late
                yield _clock_change(zone, int(early), int(late))


def together(alternatives: Iterable[Collection[Window]], after: float) -> float | None:
    """The first instant at or after this one at which each collection has an open window.

    None: there is none within the horizon, or one of the collections is empty.
    """
    each = tuple(alternatives)
    at = after
    while at <= after + HORIZON_DAYS * _DAY_SECONDS:
        openings = [_first_opening(windows, at) for windows in each]
        known = [opening for opening in openings if opening is not None]
        if len(known) < len(openings):
            return None
        latest = max(known, default=at)
        if latest == at:
            return at
        at = latest
    return None


def parse_window(
    name: str,
    spec: str,
    *,
    timezone: str = "UTC",
    hosts: Iterable[str] = (),
    groups: Iterable[str] = (),
    types: Iterable[str] = (),
    policy: str = "defer",
    overrun: bool = False,
    permit: bool = True,
    mute: bool = False,
) -> Window:
    """The window in a text of one of the three forms; InvalidRequest names the field that is wrong."""
    words = re.sub(r"\s*,\s*", ",", spec).lower().split()
    if not 1 <= len(words) <= 3:  # noqa: PLR2004 - which of the month, which weekday, the time
        _refuse(name, "spec", _FORMS, spec)
    start, end = _span(name, words[-1])
    if policy not in _POLICIES:
        _refuse(name, "policy", "`defer` or `reject`", policy)
    return Window(
        name=name,
        spec=spec,
        timezone=_timezone(name, timezone),
        hosts=tuple(hosts),
        groups=tuple(groups),
        types=tuple(TYPE_ALIASES.get(kind, kind) for kind in types),
        policy=_POLICIES[policy],
        overrun=overrun,
        permit=permit,
        mute=mute,
        start=start,
        end=end,
        weekdays=_weekdays(name, words[-2], single=len(words) > 2) if words[1:] else frozenset(range(7)),  # noqa: PLR2004 - as above
        ordinal=_ordinal(name, words[0]) if words[2:] else 0,
    )


def _first_opening(windows: Collection[Window], after: float) -> float | None:
    openings = (window.opens(after) for window in windows)
    return min((opening for opening in openings if opening is not None), default=None)


def _clock_change(zone: ZoneInfo, before: int, after: int) -> float:
    """The second in (before, after] from which the zone is another distance from UTC."""
    old = datetime.fromtimestamp(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return float(after)


def _span(name: str, text: str) -> tuple[int, int]:
    begin, _, finish = text.partition("-")
    start, end = _minutes(begin), _minutes(finish)
    if start is None or start == _DAY_MINUTES:
        _refuse(name, "start", f"a time from 00:00 to 23:59 as in {_FORMS}", begin)
    if end is None:
        _refuse(name, "end", f"a time from 00:00 to 24:00 as in {_FORMS}", finish)
    if start == end:
        _refuse(name, "end", "another time than the start (the whole day is 00:00-24:00)", text)
    return start, end if end > start else end + _DAY_MINUTES


def _minutes(text: str) -> int | None:
    """Minutes after midnight of `HH:MM`, 24:00 included; None for anything else."""
    found = _CLOCK.fullmatch(text)
    if not found:
        return None
    hours, minutes = int(found[1]), int(found[2])
    total = hours * 60 + minutes
    return total if minutes < 60 and total <= _DAY_MINUTES else None  # noqa: PLR2004 - minutes of an hour


def _weekdays(name: str, text: str, *, single: bool) -> frozenset[int]:
    if single:
        return frozenset({_weekday(name, text)})
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin = _weekday(name, first)
        length = (_weekday(name, last) - begin) % 7 if last or part.endswith("-") else 0
        days.update((begin + step) % 7 for step in range(length + 1))
    return frozenset(days)


def _weekday(name: str, text: str) -> int:
    if text not in _WEEKDAYS:
        _refuse(name, "weekday", "a day such as Sunday or Sun", text)
    return _WEEKDAYS[text]


def _ordinal(name: str, text: str) -> int:
    if text not in _ORDINALS:
        _refuse(name, "ordinal", "First, Second, Third, Fourth, Fifth or Last", text)
    return _ORDINALS[text]


def _timezone(name: str, text: str) -> str:
    try:
        known = not _NO_ZONE.fullmatch(text) and bool(ZoneInfo(text))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = False
    if not known:
        near = difflib.get_close_matches(text, available_timezones(), n=1)
        hint = f"; the nearest is {near[0]}" if near else ""
        _refuse(name, "timezone", f"an IANA zone such as Europe/Berlin or UTC{hint}", text)
    return text


def _refuse(name: str, field: str, wanted: str, found: str) -> NoReturn:
    raise InvalidRequest(f"window {name[:80]!r}, {field}: wanted {wanted}; found {found[:80]!r}", field=field)

"""The time that figures are about: a day, week, month or quarter by the wall clock of a zone, or any other stretch.

A calendar period goes from midnight to midnight as the zone has them, so a day has 23 or 25 hours where the clock
changes, and nothing here treats that as special. The end is the first instant that no more belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from opsqueue.errors import InvalidRequest
from opsqueue.model.duration import duration, is_duration
from opsqueue.model.instant import local_text

KINDS = ("day", "week", "month", "quarter")
_LAST = "last-"
_APART = ".."
_FIRST, _LAST_YEAR = 1970, 2999
"""Years: the period before must have a date too."""
_MONTHS = 3
_DECEMBER = 12
_WANTED = (
    "a period is day, week, month or quarter (the present one so far), last-day, last-week, last-month or last-quarter "
    "(the one before), how long until now such as 7d or 24h, or START..END such as 2026-03-01..2026-04-01, END not "
    "included"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A stretch of time: from `start` until but without `end`, UNIX seconds."""

    kind: str
    """One of KINDS; empty for any other stretch."""
    start: float
    end: float
    zone: str = "UTC"

    @property
    def seconds(self) -> float:
        """How long it is, changes of the clock counted."""
        return self.end - self.start

    def until(self, now: float) -> float:
        """Its end, or now while it lasts."""
        return max(self.start, min(self.end, now))

    @property
    def before(self) -> Period:
        """The period of the same kind that ends where this one begins."""
        first = _date(self.start, self.zone)
        if self.kind:
            return _calendar(self.kind, first - timedelta(days=1), self.zone)
        last = _date(self.end, self.zone)
        whole = _midnight(first, self.zone) == self.start and _midnight(last, self.zone) == self.end
        begin = _midnight(first - (last - first), self.zone) if whole else self.start - self.seconds
        return Period(kind="", start=begin, end=self.start, zone=self.zone)

    def days(self, now: float) -> Iterator[Period]:
        """Its days so far; the first and the last may be parts of days."""
        at, until = self.start, self.until(now)
        while at < until:
            end = min(until, _midnight(_date(at, self.zone) + timedelta(days=1), self.zone))
            yield Period(kind="", start=at, end=end, zone=self.zone)
            at = end


def parse(text: str, now: float, zone: str) -> Period:
    """The period that a text names, by the wall clock of an IANA zone; InvalidRequest for any other text."""
    kind = text.removeprefix(_LAST)
    if kind in KINDS:
        present = _calendar(kind, _date(now, zone), zone)
        return present.before if text.startswith(_LAST) else present
    if is_duration(text):
        return Period(kind="", start=now - duration(text), end=now, zone=zone)
    begin, apart, end = text.partition(_APART)
    if not apart:
        raise InvalidRequest(f"{_WANTED}; found {text[:60]!r}")
    period = Period(kind="", start=_moment(begin, zone), end=_moment(end, zone), zone=zone)
    if period.start >= period.end:
        raise InvalidRequest(f"the period {text[:60]!r} ends before it begins: {_WANTED}")
    if period.start > now:
        raise InvalidRequest(
            f"wanted a period that has begun; {text[:60]!r} lies wholly ahead: it begins only at "
            f"{local_text(period.start, zone)}"
        )
    return period


def _calendar(kind: str, day: date, zone: str) -> Period:
    """The period of this kind in which a day lies."""
    first = {
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "quarter": day.replace(day=1, month=day.month - (day.month - 1) % _MONTHS),
    }[kind]
    after = {
        "day": first + timedelta(days=1),
        "week": first + timedelta(days=7),
        "month": _months_later(first, 1),
        "quarter": _months_later(first, _MONTHS),
    }[kind]
    return Period(kind=kind, start=_midnight(first, zone), end=_midnight(after, zone), zone=zone)


def _months_later(first: date, months: int) -> date:
    years, month = divmod(first.month - 1 + months, _DECEMBER)
    return date(first.year + years, month + 1, 1)


def _date(at: float, zone: str) -> date:
    return datetime.fromtimestamp(at, ZoneInfo(zone)).date()


def _midnight(day: date, zone: str) -> float:
    """The first instant of a date; where the clock leaves midnight out, the instant at which it jumps."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()


def _moment(text: str, zone: str) -> float:
    try:
        found = datetime.fromisoformat(text)
        at = (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{_WANTED}; {text[:40]!r} is no date and no time") from None
    if not _FIRST <= found.year <= _LAST_YEAR:
        raise InvalidRequest(f"a period lies in the years {_FIRST} to {_LAST_YEAR}; found {text[:40]!r}")
    return at

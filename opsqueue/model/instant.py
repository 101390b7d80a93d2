"""How an instant is written for people and for programs: ISO 8601, to the second."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

UNIX_TIME = "UNIX time"
"""The unit of a metric that is a moment."""
_FIRST, _LAST = -62_135_510_400.0, 253_402_214_400.0
"""A day within what `datetime` can hold, so that every zone can show it."""


def utc_text(at: float) -> str:
    """A UNIX time in UTC, such as `2026-03-08T07:00:00Z`; never raises, what no calendar holds is its first or last."""
    return moment(math.floor(_held(at)), UTC).replace(tzinfo=None).isoformat() + "Z"


def local_text(at: float, timezone: str) -> str:
    """A UNIX time in an IANA zone, such as `2026-03-08T03:00:00-04:00 America/New_York`."""
    return f"{moment(math.floor(_held(at)), ZoneInfo(timezone)).isoformat()} {timezone}"


def moment(at: float, zone: tzinfo) -> datetime:
    """A UNIX time in a zone; the first or last moment of the calendar where it lies beyond."""
    return datetime.fromtimestamp(_held(at), zone)


def _held(at: float) -> float:
    return min(max(at, _FIRST), _LAST) if not math.isnan(at) else _FIRST

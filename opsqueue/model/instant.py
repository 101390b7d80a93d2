"""How an instant is written for people and for programs: ISO 8601, to the second."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

UNIX_TIME = "UNIX time"
"""The unit of a metric that is a moment."""


def utc_text(at: float) -> str:
    """A UNIX time in UTC, such as `2026-03-08T07:00:00Z`."""
    return datetime.fromtimestamp(math.floor(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local_text(at: float, timezone: str) -> str:
    """A UNIX time in an IANA zone, such as `2026-03-08T03:00:00-04:00 America/New_York`."""
    return f"{datetime.fromtimestamp(math.floor(at), ZoneInfo(timezone)).isoformat()} {timezone}"

"""Durations and moments as people write them, and as people read them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from opsqueue.errors import InvalidRequest
from opsqueue.model.duration import duration, is_duration
from opsqueue.model.instant import utc_text


def moment(text: str, *, now: float, zone: str) -> float:
    """UNIX seconds of an ISO date or time (in `zone` unless it says another), or of a duration before now."""
    if is_duration(text):
        return now - duration(text)
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"a time is a date such as 2026-03-01, a time such as 2026-03-01T14:30 or 2026-03-01T14:30Z, "
            f"or how long ago such as 2h or 7d; found {text[:40]!r}"
        ) from None


def length(seconds: float) -> str:
    """How long, for people: the two largest units."""
    if seconds < 10:  # noqa: PLR2004 - below, hundredths are of interest
        return f"{seconds:.2f} s"
    whole = round(seconds)
    names = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for name, size in names:
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def stamp(iso: str | None) -> str:
    """An ISO time of our JSON to the second, with a space, for a table: `2026-03-01 14:30:00Z`."""
    return "" if iso is None else iso[:19].replace("T", " ") + "Z"


def until(iso: str | None, now: float) -> str:
    """`at 2026-03-01 02:00:00Z (in 3 h 12 min)`; empty when nobody knows."""
    if iso is None:
        return ""
    left = unix(iso) - now
    return f"{stamp(iso)} (in {length(left)})" if left > 0 else stamp(iso)


def utc(at: float | None) -> str:
    """A UNIX time in UTC for a table; empty when there is none."""
    return "" if at is None else stamp(utc_text(at))


def unix(iso: str) -> float:
    """UNIX seconds of an ISO time of our JSON."""
    return datetime.fromisoformat(iso).timestamp()

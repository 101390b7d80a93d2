"""How long, as people write it."""

from __future__ import annotations

import re

from opsqueue.errors import InvalidRequest

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_PARTS = re.compile(r"([0-9]{1,9})([smhdw])")
_WHOLE = re.compile(r"(?:[0-9]{1,9}[smhdw])+")
_LONGEST = 100 * 365 * 86_400


def is_duration(text: str) -> bool:
    """Whether a text is meant as a duration."""
    return _WHOLE.fullmatch(text) is not None


def duration(text: str) -> int:
    """Seconds in `90s`, `30m`, `2h`, `1h30m`, `7d`, `2w`; InvalidRequest for anything else, and for nothing."""
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PARTS.findall(text))
    if not is_duration(text) or not 0 < seconds < _LONGEST:
        raise InvalidRequest(
            f"a duration is written as 90s, 30m, 2h, 1h30m, 7d or 2w, and is more than 0; found {text[:40]!r}"
        )
    return seconds

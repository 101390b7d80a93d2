"""One line of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `doctor`."""

    check: str
    state: str
    """`ok`, `warn` (it works, or will) or `fail`."""
    message: str
    mend: str = ""
    """The command, or the setting, that mends it."""


Looks = tuple[Check, ...]

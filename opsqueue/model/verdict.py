"""What a gate says: pass, hold until something changes, or deny; always with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing stands against it."""

    why: str = ""
    word: ClassVar[str] = "pass"


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now. `until` is the UNIX time when it can go on, `None` when somebody has to act first."""

    why: str
    until: float | None = None
    word: ClassVar[str] = "hold"


@dataclass(frozen=True, slots=True)
class Deny:
    """Not at all."""

    why: str
    word: ClassVar[str] = "deny"


Verdict = Pass | Hold | Deny

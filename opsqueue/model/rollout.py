"""How a changing operation goes over many hosts: a few first, then so many at once, and when it stops."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_MOST = 40
"""Characters of what was found that are told."""
_PERCENT = re.compile(r"(100|[1-9][0-9]?)%")


def share(value: Any) -> Any:
    """The share that a text or number says; ValueError tells what was wanted and what was found."""
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return value
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if isinstance(number, int) and not isinstance(number, bool) and number >= 1:
        return number
    found = repr(value)[:_MOST] if isinstance(value, int | float | str) else type(value).__name__
    raise ValueError(f"wanted a number of hosts from 1 on, or a percentage from 1% to 100%; found {found}")


Share = Annotated[int | str, BeforeValidator(share)]
"""A number of hosts, or a percentage of them such as `25%`."""


class Rollout(BaseModel):
    """Canary, waves, and the number of failures that stops the rest; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: Share = 1
    """How many hosts at once: a number, or a percentage of all."""
    canary: int = Field(default=0, ge=0, le=1000)
    """How many hosts go first, as a wave of their own, and stop all others if one of them fails; 0: none."""
    stop_at: Share = 1
    """How many failed hosts (a number, or a percentage of all) stop the rest."""

    def wave(self, total: int, tried: int) -> int:
        """How many hosts the next wave has, when `tried` of `total` were reached and have ended."""
        if tried < self.canary:
            return self.canary - tried
        return count_of(self.batch, total)

    def stops(self, total: int, tried: int, failed: int) -> bool:
        """Whether so many failures among those that were tried stop the rest: one is enough among the canaries."""
        return failed >= count_of(self.stop_at, total) or (failed > 0 and tried <= self.canary)


def count_of(share: int | str, total: int) -> int:
    """A share as a number of hosts: percentages are rounded up, and are at least one."""
    if isinstance(share, str):
        return max(1, math.ceil(total * int(share.removesuffix("%")) / 100))
    return share

"""What can be wrong with the answer of a check, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check stands; the order is that of the metric `state:NAME`."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    """The check itself could not be made: nothing is known of the target."""
    UNREACHABLE = "unreachable"
    """It failed while something that it depends on is down: no news of its own."""


_ANSWERS_ALL_THE_SAME = frozenset({"host_key_changed"})
_CERTAIN = _ANSWERS_ALL_THE_SAME | {
    "certificate_expired",
    "certificate_expiring",
    "certificate_untrusted",
    "certificate_wrong_name",
    "disk_inodes_high",
    "disk_not_writable",
    "disk_read_only",
    "disk_usage_high",
    "service_missing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as wanted."""

    state: State
    code: str
    """A stable word for programs."""
    message: str
    advice: str = ""

    @property
    def certain(self) -> bool:
        """Whether it is no matter of chance, so that it need not be found several times before it counts."""
        return self.code in _CERTAIN

    @property
    def down(self) -> bool:
        """Whether it says that the thing is down, or as good as that."""
        return self.state is State.CRITICAL and self.code not in _ANSWERS_ALL_THE_SAME


Problems = Iterator[Problem]


def state_of(problems: tuple[Problem, ...]) -> State:
    """The worst of them; critical is worse than unknown, unknown than warning."""
    order = (State.CRITICAL, State.UNKNOWN, State.WARNING)
    found = {problem.state for problem in problems}
    return next((state for state in order if state in found), State.OK)


def cannot_tell(reason: str) -> Problem:
    """The check itself could not be made."""
    return Problem(
        state=State.UNKNOWN,
        code="check_unknown",
        message=f"could not be checked: {reason}",
        advice="Mend the check itself; nothing is known of its target.",
    )


def critical(code: str, message: str, advice: str = "") -> Problem:
    """It is down, or as good as that."""
    return Problem(state=State.CRITICAL, code=code, message=message, advice=advice)


def warning(code: str, message: str, advice: str = "") -> Problem:
    """It works, and somebody should look."""
    return Problem(state=State.WARNING, code=code, message=message, advice=advice)


def above(code: str, what: str, found: float | None, limits: tuple[float, float], unit: str = "") -> Problems:
    """What is at or above its limits (warning, critical); what is not known is neither. `unit`: such as `% full`."""
    warn, crit = limits
    for limit, make in ((crit, critical), (warn, warning)):
        if found is not None and found >= limit:
            yield make(code, f"{what} is {found:.4g}{unit}, wanted below {limit:g}{unit[:1]}")
            return

"""What was seen of hosts and of the work over time, as plain values for those who reckon with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from opsqueue.model.names import Outcome, Severity

Span = tuple[float, float]
"""From, and until but without; UNIX seconds."""
Seen = tuple[tuple[float, bool], ...]
"""When a host was looked at, UNIX seconds, and whether it was up; oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A time in which something was not as it has to be. Times are UNIX seconds, None: it has not come so far."""

    id: str
    host: str
    start: float
    """The first failing sample, not the alert."""
    detected: float | None = None
    """When an alert fired."""
    acknowledged: float | None = None
    """When a person said to know of it."""
    resolved: float | None = None
    """The first good sample; None: it is open."""
    rule: str = ""
    severity: Severity = Severity.CRITICAL
    caused_by: str | None = None
    """The operation that caused it, where that is known."""
    remedied: bool | None = None
    """Whether an operation that an alert asked for ended it; None: nobody can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """So many operations that ended alike."""

    type: str
    outcome: Outcome
    requested_by: str
    looking: bool
    touched: bool
    """Whether a person did something to them after they were asked for: cancelled, tried again, acknowledged."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One host that an operation changed."""

    operation_id: str
    host: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasions:
    """What was not usual on a host in some time, as far as the record knows."""

    changes: Mapping[str, int] = field(default_factory=dict)
    """Operations that changed it, counted by type."""
    alerts: Mapping[str, int] = field(default_factory=dict)
    """Incidents of critical alerts about it, counted by rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What one scan found on one host."""

    host: str
    at: float
    scope: str
    """What was looked for: only a scan of the same scope can tell that something is gone."""
    findings: Mapping[str, Severity]
    """By the fingerprint of the finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """Answers of what was probed: milliseconds of those that came, in rising order, and how many did not."""

    times: tuple[float, ...] = ()
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """How long one process of a worker worked in one hour."""

    process: str
    """`WORKER:PID`."""
    hour: int
    """Hours since 1970."""
    seconds: float

"""Alerts as values: what was observed, how an alert stands, what happened to it, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from opsqueue.model.alert_rule import RunOperation
from opsqueue.model.matcher import Matcher
from opsqueue.model.names import Severity

OF_OTHERS = "alertmanager"
"""The rule of all alerts that another system decided."""


class AlertState(StrEnum):
    """Where an alert stands, as in Prometheus; one that is kept firing is firing."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


class Kind(StrEnum):
    """What happened to an alert: one line of history each."""

    PENDING = "pending"
    DROPPED = "dropped"
    """It was pending, and the condition held no more."""
    FIRING = "firing"
    RESOLVED = "resolved"
    FLAPPING = "flapping"
    STEADY = "steady"
    SEVERITY = "severity"
    ACKNOWLEDGED = "acknowledged"
    ACK_EXPIRED = "ack_expired"
    ACK_TAKEN_BACK = "ack_taken_back"
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    UNMUTED = "unmuted"
    ESCALATED = "escalated"
    REMEDIATION = "remediation"
    REMEDIATED = "remediated"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one evaluation of one rule found about one thing at one moment."""

    labels: Mapping[str, str]
    at: float
    """UNIX time of the sample, not of the evaluation."""
    value: float | None = None
    holds: bool | None = None
    """For conditions and findings: whether it holds; None: the rule's threshold says."""
    unit: str = ""
    severity: Severity | None = None
    """Of a finding, where it differs from the rule's."""
    note: str = ""
    every: float = 0.0
    """How often such samples come by the schedule, seconds; 0: by none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that a rule watches, by the fingerprint of its labels. Times are UNIX seconds."""

    fingerprint: str
    rule: str
    labels: Mapping[str, str]
    severity: Severity
    state: AlertState = AlertState.INACTIVE
    active_at: float | None = None
    """The first evaluation of this row in which it held; shifted by a downtime."""
    fired_at: float | None = None
    resolved_at: float | None = None
    """When it last ended."""
    kept_since: float | None = None
    """Firing, while the condition holds no more: since when."""
    value: float | None = None
    threshold: float | None = None
    note: str = ""
    last_at: float | None = None
    """The sample that was judged last; an older one changes nothing."""
    every: float = 0.0
    """How often its samples come, seconds: by the schedule, or as the last two did; 0: not known yet."""
    history: str = ""
    """The last 21 results, oldest first: 1 it held, 0 it did not."""
    flapping: bool = False
    incident: str = ""
    """The id of this firing; the next one has another."""
    acked_by: str = ""
    acked_at: float | None = None
    acked_until: float | None = None
    muted_by: tuple[str, ...] = ()
    """`silence:ID`, `inhibited:FINGERPRINT`; it is recorded, and nobody is told."""
    version: int = 0
    """Grows with each write; 0: never written."""

    @property
    def host(self) -> str:
        """The host it is about; empty: none."""
        return self.labels.get("host", "")

    @property
    def called(self) -> str:
        """What people know it by: its rule, or what the other system that decided it calls it."""
        return (self.labels.get("alertname") if self.rule == OF_OTHERS else "") or self.rule

    @property
    def firing(self) -> bool:
        """Whether it fires."""
        return self.state is AlertState.FIRING

    def acked(self, now: float) -> bool:
        """Whether somebody looks after this firing."""
        return self.acked_until is not None and now < self.acked_until

    def all_labels(self) -> dict[str, str]:
        """What routes, silences and inhibitions look at."""
        return {**self.labels, "severity": self.severity.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One line in the history of an alert."""

    at: float
    kind: Kind
    fingerprint: str
    rule: str
    host: str = ""
    severity: Severity = Severity.WARNING
    incident: str = ""
    value: float | None = None
    threshold: float | None = None
    reason: str = ""
    actor: str = ""
    """Who: `engine`, or a person."""
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Alerts that match one of its sets are not told for a time."""

    id: str
    matchers: tuple[tuple[Matcher, ...], ...]
    """Sets; one of them is enough, all matchers of that one must hold."""
    starts_at: float
    ends_at: float
    created_by: str
    comment: str
    created_at: float = 0.0
    updated_at: float = 0.0

    def state(self, now: float) -> Literal["pending", "active", "expired"]:
        """What may still be changed about it."""
        if now < self.starts_at:
            return "pending"
        return "active" if now < self.ends_at else "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Alerts that are told together, and what was told of them last."""

    key: str
    route: str
    labels: Mapping[str, str]
    next_at: float
    """When it is looked at next."""
    sent_at: float | None = None
    """When it last told something; None: never."""
    sent: Mapping[str, str] = field(default_factory=dict)
    """What was told to fire: member to severity."""
    resolved: tuple[str, ...] = ()
    """What was told to be over, with the last message."""
    number: int = 0
    """Grows with each message, from the second of its beginning on: part of each one's id."""
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message that a group has to give."""

    group: Group
    why: Literal["new", "changed", "worse", "resolved", "repeat"]
    firing: tuple[Alert, ...]
    resolved: tuple[Alert, ...] = ()
    flapping: tuple[Alert, ...] = ()

    @property
    def event_id(self) -> str:
        """The same for the same message, whoever decides it."""
        return f"alerts:{self.group.key}:{self.group.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to mend: an operation that was asked for, or would have been."""

    operation_id: str
    rule: str
    host: str
    incident: str
    number: int
    """The how manieth of this incident, from 1."""
    type: str
    at: float
    state: Literal["running", "helped", "failed", "proposed", "dry_run"] = "running"
    ended_at: float | None = None
    """When its operation ended; None: not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What remediation does now about one alert."""

    do: Literal["run", "propose", "dry_run", "wait", "exhausted", "brake", "nothing"]
    why: str
    attempt: Attempt | None = None
    operation: RunOperation | None = None

    @property
    def hindered(self) -> bool:
        """Whether a repair is wanted and not asked for."""
        return self.do in {"wait", "exhausted", "brake", "nothing"}

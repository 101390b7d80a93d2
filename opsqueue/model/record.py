"""Rows of the record as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opsqueue.model.names import OperationPriority, Outcome, Stage, TargetState
from opsqueue.model.plan import NOTHING, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation as it stands in the record. Times are UNIX seconds."""

    id: str
    name: str
    type: str
    priority: OperationPriority
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    systems: tuple[str, ...] = ()
    """As asked for: names, groups."""
    timeout: int = 300
    retry_count: int = 2
    window: str | None = None
    channels: tuple[str, ...] | None = None
    rollback_enabled: bool = True
    rollout: Mapping[str, Any] = field(default_factory=dict)
    """`{batch, canary, stop_at}` as it was when it was asked for."""
    requested_by: str = "unknown"
    reason: str = ""
    looking: bool = False
    stage: Stage = Stage.VERIFY
    outcome: Outcome | None = None
    due_at: float | None = None
    """When somebody should look next; None: not before a person acts."""
    token: int = 0
    """Grows at each lease; every write must show it."""
    holder: str = ""
    """Who works on it now, empty when nobody does."""
    attempts: int = 0
    """Failed tries of the present stage."""
    hold: tuple[str, ...] = ()
    """The gates that hold it."""
    cancel_asked: str = ""
    """Who asked to cancel, and why; empty when nobody did."""
    digest: str | None = None
    """The name of exactly what was planned."""
    coordinators: tuple[Mapping[str, Any], ...] = ()
    """What each verification coordinator said: `{coordinator, status, why, digest, reached}`."""
    verdicts: tuple[Mapping[str, Any], ...] = ()
    """What each gate said last: `{gate, verdict, why, until}`, `until` in UNIX seconds."""
    score: float | None = None
    findings: tuple[Mapping[str, Any], ...] = ()
    schedule: str | None = None
    slot: float | None = None
    created_at: float = 0.0
    finished_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One host within one operation."""

    operation_id: str
    host: str
    position: int = 0
    place: str = ""
    """Where the host was when its plan was verified; a name that is another machine's by now gets nothing of it."""
    state: TargetState = TargetState.PENDING
    attempt: int = 1
    changed: bool = False
    plan: Plan = NOTHING
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """`{name: {"value", "unit"}}`"""
    problems: tuple[str, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()
    """What was sent, each `{title, command, exit_code, seconds, output}`; exit_code None: not known."""
    started_at: float | None = None
    changed_at: float | None = None
    """When the last command was sent."""
    verified_at: float | None = None
    finished_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Some targets of one stage of an operation that another worker takes: leased, like the operation itself."""

    operation_id: str
    stage: Stage
    number: int
    hosts: tuple[str, ...]
    queue: str
    holder: str = ""
    token: int = 0
    until: float = 0.0
    """End of the lease; 0: nobody has taken it yet."""
    done: bool = False
    said: Mapping[str, Any] = field(default_factory=dict)
    """By host: what the worker has to say beside what stands on the target."""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One appended line of history; also the audit trail."""

    operation_id: str | None
    at: float
    kind: str
    message: str
    stage: str | None = None
    host: str | None = None
    actor: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0


WAITING = ("queued", "sending", "failed", "summary")
"""The states of a delivery in which something is still to be told."""
INSTEAD = "instead of"
"""How the note of a delivery begins that takes the place of one that was given up."""
BUSY = "another message to this channel"
"""How the words begin that say that a delivery waits because its channel does not answer."""
LESS = "sent without"
"""How the words begin that say what is missing in a message that was sent all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message for one recipient of a channel; unique by (operation, event, channel)."""

    operation_id: str
    """Empty for a message that belongs to no operation."""
    event: str
    channel: str
    status: str = "queued"
    """queued, sending, accepted, failed (tried again), dead (given up), acknowledged (a person knows), suppressed (the
    same was told just before), summary (told with others in one message, or waiting for that)."""
    attempts: int = 0
    next_at: float = 0.0
    at: float | None = None
    error: str = ""
    fallback: str = ""
    """The channel that it went down to when it was given up; empty: none, or none yet."""
    note: str = ""
    """What people should know of it: why it waits, or instead of which channel it was sent."""
    summary: str = ""
    """The event of the message that tells it together with others; empty: it is told alone."""

    @property
    def held(self) -> bool:
        """Whether it waits or waited on purpose: quiet hours, a limit, a summary."""
        return bool(self.note) and not self.note.startswith((INSTEAD, BUSY, LESS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A delivery, and when people were to know of it: its message was written down, or its operation's work over."""

    delivery: Delivery
    written: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A time in which nothing may be changed, whoever asks."""

    id: str
    scope: tuple[str, ...]
    """Host names, group names, type names; `all` for everything."""
    reason: str
    starts_at: float
    ends_at: float | None
    """None: until somebody lifts it."""
    created_by: str
    created_at: float
    lifted_at: float | None = None
    lifted_by: str = ""


def status_of(operation: Operation, now: float) -> str:
    """What people see: the outcome once closed, else what it is doing or waiting for."""
    if operation.stage is Stage.CLOSED:
        return operation.outcome.value if operation.outcome else "unknown"
    if operation.holder and operation.due_at is not None and operation.due_at > now:
        return _DOING[operation.stage]
    if operation.cancel_asked and operation.outcome is None:
        return "cancelling"
    if operation.hold:
        return "waiting"
    if operation.attempts:
        return "retrying"
    return "pending" if operation.stage is Stage.VERIFY else _DOING[operation.stage]


_DOING = {
    Stage.VERIFY: "verifying",
    Stage.WINDOW: "waiting",
    Stage.EXECUTE: "executing",
    Stage.COLLECT: "collecting",
    Stage.ANALYZE: "analyzing",
    Stage.NOTIFY: "notifying",
    Stage.CLOSED: "closed",
}

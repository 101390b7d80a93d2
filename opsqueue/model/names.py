"""Words with a fixed meaning: types, priorities, stages, outcomes, risks."""

from __future__ import annotations

from enum import StrEnum


class OperationType(StrEnum):
    """The ten types that opsqueue brings; types of other people are plain strings."""

    SYSTEM_MONITORING = "system_monitoring"
    SERVICE_RESTART = "service_restart"
    DATABASE_MAINTENANCE = "database_maintenance"
    LOG_ROTATION = "log_rotation"
    BACKUP_OPERATION = "backup_operation"
    SECURITY_SCAN = "security_scan"
    PERFORMANCE_TUNING = "performance_tuning"
    HEALTH_CHECK = "health_check"
    ALERT_MANAGEMENT = "alert_management"
    CAPACITY_PLANNING = "capacity_planning"


#: Other spellings that are accepted at the door.
TYPE_ALIASES = {"backup": OperationType.BACKUP_OPERATION.value}


class OperationPriority(StrEnum):
    """Also the name of the queue; listed from the first served to the last."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 is served first."""
        return list(OperationPriority).index(self)


class Stage(StrEnum):
    """Where an operation rests; each leads to the next, `execute` also back to `verify`."""

    VERIFY = "verify"
    WINDOW = "window"
    EXECUTE = "execute"
    COLLECT = "collect"
    ANALYZE = "analyze"
    NOTIFY = "notify"
    CLOSED = "closed"

    @property
    def next(self) -> Stage:
        """The stage after this one; `closed` is its own."""
        order = list(Stage)
        return order[min(order.index(self) + 1, len(order) - 1)]


#: The six stages that are worked; `closed` is only rested at.
WORKED = tuple(stage for stage in Stage if stage is not Stage.CLOSED)


class Outcome(StrEnum):
    """How an operation ended; each is something that an operator can act on."""

    SUCCEEDED = "succeeded"
    """Done, and verified on every target."""
    UNCHANGED = "unchanged"
    """Every target was already as wanted; nothing was sent."""
    PARTIAL = "partial"
    """Some targets succeeded, some did not."""
    FAILED = "failed"
    """Not done; the reason stands on each target."""
    ROLLED_BACK = "rolled_back"
    """Not done; every touched target is back in its old state, as verified."""
    DENIED = "denied"
    """A gate or a rule said no; nothing was sent."""
    CANCELLED = "cancelled"
    """A person stopped it."""
    UNKNOWN = "unknown"
    """A person must look: the state of a target could not be told."""


class TargetState(StrEnum):
    """Where one target stands; `applying` and `rolling_back` are written before the first command."""

    PENDING = "pending"
    APPLYING = "applying"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"

    @property
    def settled(self) -> bool:
        """Whether nothing more will be done to this target."""
        return self not in {TargetState.PENDING, TargetState.APPLYING, TargetState.ROLLING_BACK}


class Sort(StrEnum):
    """What a type does to a host."""

    LOOKING = "looking"
    """Asks only; passes the gates that protect against change."""
    CHANGING = "changing"
    """Changes what is there."""
    MAKING = "making"
    """Makes a new thing whose name was chosen beforehand."""


class Risk(StrEnum):
    """What can be lost, from nothing to data."""

    READ_ONLY = "read_only"
    REVERSIBLE = "reversible"
    DESTRUCTIVE = "destructive"


class Severity(StrEnum):
    """How much a finding matters, from least to most."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

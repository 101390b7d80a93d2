"""A deployment: what was put where by somebody else, and how far its check has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4, uuid5

from pydantic import BaseModel, ConfigDict, Field, field_validator

from opsqueue.model.names import OperationPriority
from opsqueue.model.plan import digest_of
from opsqueue.model.request import LINE, Name, parsed


class DeploymentState(StrEnum):
    """Where a deployment stands; each leads on, or is an end."""

    RECEIVED = "received"
    """It is written down, and nothing was asked for yet."""
    CHECKING = "checking"
    """The health check was asked for."""
    HEALTHY = "healthy"
    """The check found nothing critical; what it checked is monitored from now on."""
    FAILED = "failed"
    """It is not well, and nothing is configured that leads back: a person must look."""
    ROLLING_BACK = "rolling_back"
    """The rollback operation was asked for."""
    ROLLED_BACK = "rolled_back"
    """The rollback operation succeeded."""
    ROLLBACK_FAILED = "rollback_failed"
    """It did not: a person must look."""
    SUPERSEDED = "superseded"
    """It is not well, and a later deployment of the service has taken its place: nothing is led back."""
    UNKNOWN = "unknown"
    """Nobody could tell how it is: the check was denied, cancelled, or could not judge. A person must look."""

    @property
    def over(self) -> bool:
        """Whether nothing follows by itself."""
        return self not in {DeploymentState.RECEIVED, DeploymentState.CHECKING, DeploymentState.ROLLING_BACK}


class Rollback(BaseModel):
    """The operation that leads back; in texts of its parameters `{version}` and `{previous_version}` are filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    type: Name
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    target_systems: tuple[Name, ...] = Field(default=(), max_length=10_000)
    """Where; default: the systems of the deployment."""
    priority: OperationPriority = OperationPriority.HIGH
    timeout: int | None = Field(default=None, ge=1, le=7 * 86_400)
    """Seconds; default: `default_timeout`."""
    maintenance_window: str | None = Field(default=None, max_length=200)


class DeploymentEvent(BaseModel):
    """What a deployment tool tells when it is done."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    service: Name
    version: Name
    systems: tuple[Name, ...] = Field(min_length=1, max_length=10_000)
    """Hosts, groups, tags."""
    status: Literal["succeeded", "failed"] = "succeeded"
    """How the tool itself ended; after `failed` nothing is checked, and the rollback is asked for at once."""
    event_id: UUID = Field(default_factory=uuid4)
    """Also the idempotency key."""
    requested_by: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"), LINE] = "unknown"
    reason: str = Field(default="", max_length=1000)
    health_check: Mapping[str, Any] | None = None
    """Parameters of the health check; default: as configured for the service."""
    rollback: Rollback | None = None
    """Default: as configured for the service."""

    @field_validator("systems")
    @classmethod
    def _each_once(cls, systems: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(systems))

    def digest(self) -> str:
        """The same for the same event; the id, the requester and the reason do not count."""
        return digest_of(self.model_dump(mode="json", exclude={"event_id", "requested_by", "reason"}))


def parse_event(data: Any) -> DeploymentEvent:
    """The event in a JSON object or text; InvalidRequest, and nothing else, otherwise."""
    return parsed(data, DeploymentEvent, "deployment event", "service, version and systems")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment as it stands in the record. Times are UNIX seconds."""

    id: str
    """Of its event."""
    service: str
    version: str
    systems: tuple[str, ...]
    status: str
    requested_by: str
    reason: str
    check: Mapping[str, Any]
    """The request of the health check, as it was when the event came."""
    rollback: Mapping[str, Any] | None
    """The request that leads back; None: nothing does."""
    state: DeploymentState = DeploymentState.RECEIVED
    why: str = ""
    created_at: float = 0.0
    finished_at: float | None = None

    @property
    def check_id(self) -> str:
        """The id of its health check, the same however often it is asked for."""
        return str(uuid5(UUID(self.id), "health_check"))

    @property
    def rollback_id(self) -> str:
        """The id of its rollback operation, likewise."""
        return str(uuid5(UUID(self.id), "rollback"))

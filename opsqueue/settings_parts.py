"""The parts that settings are made of: hosts, windows, coordinators, schedules, workers, logs, Flower."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opsqueue.model.deployment import Rollback
from opsqueue.model.rollout import Rollout
from opsqueue.secrets import SecretRef


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Percent = Annotated[float, Field(ge=0, le=100)]


class Thresholds(_Part):
    """Above these a finding is raised."""

    cpu_usage: Percent = 80
    memory_usage: Percent = 85
    disk_usage: Percent = 90
    response_time: float = Field(default=5000, gt=0)
    """Milliseconds."""


class HostSettings(_Part):
    """One machine of the inventory."""

    connector: Literal["local", "ssh", "worker"] = "ssh"
    """`local` is the machine that the worker runs on; `worker`: the host runs `opsqueue worker --host NAME` itself."""
    address: str = ""
    port: int | None = Field(default=None, ge=1, le=65535)
    user: str | None = None
    key_file: str | None = None
    certificate_file: str | None = None
    gateway: str | None = None
    """The name of the host through which it is reached; empty: directly, whatever `ssh.gateway` says."""
    tags: tuple[str, ...] = ()
    windows: tuple[str, ...] = Field(default=(), max_length=100)
    """Maintenance windows of this host alone, as text: with them no other window counts for it."""
    parameters: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)


class SshSettings(_Part):
    """How hosts are reached over SSH, where a host says nothing else."""

    port: int = Field(default=22, ge=1, le=65535)
    user: str = ""
    key_file: str = ""
    certificate_file: str = ""
    key_passphrase: SecretRef | None = None
    gateway: str = ""
    known_hosts: Path | None = None
    """The keys that are trusted; default: `known_hosts` in the state directory. The user's own file is not read."""
    connect_timeout: float = Field(default=10, gt=0, le=300)
    """Seconds until a connection stands, with its authentication."""
    keep_seconds: float = Field(default=600, ge=0, le=86_400)
    """How long an unused connection is kept open."""


class RolloutSettings(Rollout):
    """How a changing operation goes over many hosts, where its request says nothing else."""

    types: Mapping[str, Rollout] = Field(default_factory=dict)
    """Other values for some types."""

    def of(self, operation_type: str) -> Rollout:
        """What counts for this type."""
        return self.types.get(operation_type) or Rollout(batch=self.batch, canary=self.canary, stop_at=self.stop_at)


class WindowSettings(_Part):
    """A maintenance window that covers some hosts or types only."""

    spec: str
    timezone: str | None = None
    hosts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    policy: Literal["defer", "reject"] | None = None
    overrun: bool = False
    """Whether work may begin in it that will not be over when it closes."""
    permit: bool = True
    """Whether changes wait for it, and are allowed in it."""
    mute: bool = False
    """Whether alerts about its hosts are kept quiet in it."""

    @model_validator(mode="after")
    def _of_use(self) -> WindowSettings:
        if not self.permit and not self.mute:
            raise ValueError("without permit and without mute it does nothing: set one of them, or leave it away")
        return self


class CoordinatorSettings(_Part):
    """An external verification coordinator: a URL that is POSTed to, or a Python `module:object`."""

    name: str
    url: str | None = None
    python: str | None = None
    timeout: float = Field(default=10, gt=0, le=300)
    """Seconds."""

    @model_validator(mode="after")
    def _one_way(self) -> CoordinatorSettings:
        if (self.url is None) == (self.python is None):
            raise ValueError("give either url or python")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("url begins with http:// or https://")
        return self


class ScheduleSettings(_Part):
    """One recurring operation: every so many seconds, or by a cron expression in `timezone`."""

    type: str
    every: int | None = Field(default=None, ge=1)
    """Seconds."""
    cron: str | None = None
    systems: tuple[str, ...] = ("all",)
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    priority: Literal["critical", "high", "normal", "low"] = "low"
    notify: tuple[str, ...] = ("log",)
    enabled: bool = True

    @model_validator(mode="after")
    def _one_clock(self) -> ScheduleSettings:
        if (self.every is None) == (self.cron is None):
            raise ValueError("give either every (seconds) or cron")
        return self


class WorkerSettings(_Part):
    """How workers run."""

    processes: int = Field(default=2, ge=1, le=256)
    """Pool processes of the shared worker."""
    reserved: int = Field(default=1, ge=0, le=64)
    """Pool processes that take critical operations only."""
    lease_seconds: float = Field(default=30, ge=1, le=3600)
    """How long after its last sign of life a dead worker's operation is looked at by another."""
    events: bool = False
    """Send task events for Flower. They about double the cost of a chain: `up` turns them on, `worker` does not."""
    in_process: bool = True
    """Go on to the next stage in the same process when nothing stands against it (never while events are on)."""
    retry_backoff_seconds: float = Field(default=2, ge=0.05, le=3600)
    """Before the first retry; doubled for each one after it, up to a minute."""
    renudge_seconds: float = Field(default=5, ge=0.1, le=600)
    """How long a nudge may be on its way before the reconciler sends another."""
    side_by_side: int = Field(default=64, ge=1, le=1000)
    """How many hosts one operation asks at the same time."""
    shard_size: int = Field(default=250, ge=1, le=10_000)
    """Looking operations on more hosts are divided among workers in shards of so many."""
    deaf_seconds: float = Field(default=30, ge=2, le=3600)
    """How long a worker may take nothing, with messages waiting and a process to spare, before it is started again."""


class LoggingSettings(_Part):
    """Where and how the logs are written."""

    directory: Path | None = None
    """Default: `logs` in the state directory."""
    format: Literal["json", "plain"] = "plain"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class KpiSettings(_Part):
    """What key figures are held against."""

    slo: float = Field(default=99.9, gt=0, lt=100)
    """The service level objective: percent of the time, without planned maintenance, in which a host is to be up."""
    min_samples: int = Field(default=20, ge=1)
    """A number of fewer samples is told to be one of few samples."""


class DeploymentSettings(_Part):
    """What follows a deployment of one service."""

    health_check: Mapping[str, Any] = Field(default_factory=dict)
    """Parameters of the health check that runs after it; an event may bring its own."""
    rollback: Rollback | None = None
    """The operation that leads back when the check fails; an event may bring its own."""
    notify: tuple[str, ...] | None = None
    """Channels that hear of both operations; default: `default_channels`."""
    monitor: bool = True
    """Whether the checks of a healthy deployment become part of every later health check of its hosts."""


class FlowerSettings(_Part):
    """Where `opsqueue up` and `opsqueue flower` show Flower; loopback only unless said."""

    enabled: bool = True
    address: str = "127.0.0.1"
    port: int = Field(default=5555, ge=0, le=65535)

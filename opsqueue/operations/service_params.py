"""The parameters of `service_restart`."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from opsqueue.facts.services import Whereabouts
from opsqueue.model.kind import NO_TEMPLATE, Params

ServiceName = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9@:._-]*$")]
"""No option, no path, no text for a shell."""
AbsolutePath = Annotated[str, Field(max_length=1000, pattern=r"^(/[^\x00-\x1f\x7f]+)?$")]

_MOST_PORT = 65_535


class HealthCheck(Params):
    """Something to try over the network, before and after; exactly one of `http` and `tcp`."""

    http: str = ""
    """An address such as http://127.0.0.1:8080/health."""
    tcp: str = ""
    """host:port."""
    expect_status: int = Field(default=200, ge=100, le=599)
    timeout_seconds: float = Field(default=30, ge=1, le=600)
    """Seconds after the settling within which it must succeed."""
    success_threshold: int = Field(default=2, ge=1, le=20)
    """How many times in a row it must succeed."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.http) == bool(self.tcp):
            raise ValueError("give either http (an address) or tcp (host:port)")
        return self

    @field_validator("http", "tcp")
    @classmethod
    def _no_template(cls, text: str) -> str:
        if "{" in text or "}" in text:
            raise ValueError(NO_TEMPLATE)
        return text

    @field_validator("http")
    @classmethod
    def _web_address(cls, text: str) -> str:
        parts = urlsplit(text)
        if text and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc):
            raise ValueError("an address begins with http:// or https://, names a host and holds no password")
        return text

    @field_validator("tcp")
    @classmethod
    def _host_and_port(cls, text: str) -> str:
        host, _, port = text.rpartition(":")
        if text and not (host and port.isascii() and port.isdigit() and 0 < int(port) <= _MOST_PORT):
            raise ValueError("write host:port, such as 127.0.0.1:5432")
        return text


class ServiceRestartParams(Params):
    """Which service, by which manager, and when it counts as up again."""

    service_name: ServiceName
    manager: Literal["auto", "systemd", "supervisor", "docker", "runit", "s6", "sysv"] = "auto"
    """`auto` asks all of them and refuses a name that two of them know."""
    action: Literal["restart", "reload", "reload_or_restart", "stop_start"] = "restart"
    """`reload` keeps the process and sends HUP where the manager has no word for it."""
    when_inactive: Literal["start", "skip", "fail"] = "fail"
    """What to do with a service that somebody stopped; one that failed is started in any case."""
    settle_seconds: int = Field(default=5, ge=1, le=600)
    """Seconds for which the new instance must stay up."""
    start_timeout_seconds: int = Field(default=90, ge=1, le=3600)
    stop_timeout_seconds: int = Field(default=30, ge=1, le=3600)
    preflight: Literal["builtin", "none"] = "builtin"
    """`builtin` lets known services (nginx, sshd, …) check their own configuration first."""
    health_check: HealthCheck | None = None
    require_healthy_before: bool = False
    """Refuse when the health check already fails before anything is done."""
    allow_protected: bool = False
    """Allow what can cut the connection: sshd, the network, dbus, systemd's own, the workers of this queue."""
    daemon_reload: bool = False
    """Let systemd read changed unit files first (`systemctl daemon-reload` concerns the whole host)."""
    journal_lines: int = Field(default=50, ge=0, le=1000)
    """Lines of the service's log that are kept when it does not stay up; 0 keeps none."""
    sudo: bool = True
    """Ask and act as root, with `sudo -n` where the worker is not root."""
    supervisor_config: AbsolutePath = ""
    """The configuration that supervisorctl reads; empty: its own search."""
    service_dir: AbsolutePath = ""
    """The service directory of runit or s6; empty: the usual places."""
    pid_file: AbsolutePath = ""
    """The pid file of an init script; empty: the one the script names, /run/NAME.pid, /run/*/NAME.pid."""

    @model_validator(mode="after")
    def _needs_a_check(self) -> Self:
        if self.require_healthy_before and self.health_check is None:
            raise ValueError("require_healthy_before needs a health_check")
        return self

    @property
    def where(self) -> Whereabouts:
        """What the facts need."""
        return Whereabouts(
            name=self.service_name,
            supervisor_config=self.supervisor_config,
            service_dir=self.service_dir,
            pid_file=self.pid_file,
            sudo=self.sudo,
        )

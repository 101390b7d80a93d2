"""The parameters of `service_restart`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from opsqueue.facts.services import Whereabouts
from opsqueue.model.in_words import in_words
from opsqueue.model.kind import NO_TEMPLATE, Params

ServiceName = Annotated[
    str,
    Field(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9@:._-]*$"),
    in_words("the name of a service: letters, digits and _, and then @ : . - too, such as nginx or app@1.service"),
]
"""No option, no path, no text for a shell."""
AbsolutePath = Annotated[
    str, Field(max_length=1000, pattern=r"^(/[^\x00-\x1f\x7f]+)?$"), in_words("an absolute path, such as /etc/service")
]
FilePath = Annotated[
    str,
    Field(max_length=1000, pattern=r"^(/[A-Za-z0-9@:+,_-][A-Za-z0-9@:+,._-]*)+$"),
    in_words(
        "an absolute path such as /etc/nginx/nginx.conf: letters, digits and @ : + , . _ -, no name begins with ."
    ),
]
"""An absolute path without a step up, a link's dot or a character that means something to a shell."""
Argv = Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
"""A program with its arguments."""
OwnerName = Annotated[
    str,
    Field(max_length=100, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*)?$"),
    in_words("the name or number of a user or group"),
]
Mode = Annotated[str, Field(pattern=r"^(0?[0-7]{3})?$"), in_words('a mode in quotes, such as "0644"')]

_MOST_PORT = 65_535
_MOST_CONTENT = 65_536


class HealthCheck(Params):
    """Something to try, after a restart and mostly before; exactly one of `http`, `tcp` and `command`."""

    http: str = ""
    """An address such as http://127.0.0.1:8080/health."""
    tcp: str = ""
    """host:port."""
    command: tuple[str, ...] = Field(default=(), max_length=100)
    """A program with its arguments, run on the host after the restart only; it is well when it ends with 0."""
    expect_status: int = Field(default=200, ge=100, le=599)
    timeout_seconds: float = Field(default=30, ge=1, le=600)
    """Seconds after the settling within which it must succeed."""
    success_threshold: int = Field(default=2, ge=1, le=20)
    """How many times in a row it must succeed."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if [bool(self.http), bool(self.tcp), bool(self.command)].count(True) != 1:
            raise ValueError("give one of http (an address), tcp (host:port) and command (a list of words)")
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


class ConfigFile(Params):
    """A file that is put in place before the restart, and taken back when the service does not come up with it."""

    model_config = ConfigDict(str_max_length=_MOST_CONTENT)

    path: FilePath
    content: str = Field(max_length=_MOST_CONTENT)
    """The whole new text; it is shown in plans, so a secret has no place in it."""
    mode: Mode = ""
    """Such as 0644; empty: as it is, or 0644 where there is none."""
    owner: OwnerName = ""
    """A user; empty: as it is."""
    group: OwnerName = ""
    """A group; empty: as it is."""


class ServiceRestartParams(Params):
    """Which service, by which manager, and when it counts as up again."""

    service_name: ServiceName
    """One service; a list of them is the same as `services`."""
    services: tuple[ServiceName, ...] = Field(default=(), max_length=50)
    """Several, one after the other: each is up, settled and healthy before the next is begun."""
    order: Literal["given", "manager"] = "given"
    """`manager`: as systemd starts them, by `After=` among those that are named."""
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
    preflight: Literal["builtin", "none"] | tuple[Argv, ...] = "builtin"
    """`builtin` lets known services (nginx, sshd, …) check their own configuration first; or commands of yours."""
    config_files: tuple[ConfigFile, ...] = Field(default=(), max_length=20)
    """Put in place before the restart, each in one rename; taken back when a service does not come up with them."""
    health_check: HealthCheck | None = None
    health_checks: dict[ServiceName, HealthCheck] = Field(default={}, max_length=50)
    """Checks by the name of the service; `health_check` is for those that are not named here."""
    require_healthy_before: bool = False
    """Refuse when the health check already fails before anything is done."""
    allow_protected: bool = False
    """Allow what can cut the connection: sshd, the network, dbus, systemd's own, the workers of this queue."""
    daemon_reload: bool = False
    """Let systemd read changed unit files first (`systemctl daemon-reload` concerns the whole host)."""
    journal_lines: int = Field(default=50, ge=0, le=1000)
    """Lines of the service's log that are kept when it does not stay up; 0 keeps none."""
    storm_limit: int = Field(default=10, ge=0, le=1000)
    """Refuse a service that was started so often lately, by us or by systemd; 0: no limit."""
    storm_window_seconds: int = Field(default=600, ge=1, le=86_400)
    """How far back starts are counted."""
    restart_log: bool = True
    """Keep a log of restarts on the host, in `state_dir`."""
    state_dir: AbsolutePath = ""
    """For the log and old files; empty: /var/lib/opsqueue-restarts, without root ~/.local/state/opsqueue-restarts."""
    sudo: bool = True
    """Ask and act as root, with `sudo -n` where the worker is not root."""
    supervisor_config: AbsolutePath = ""
    """The configuration that supervisorctl reads; empty: its own search."""
    service_dir: AbsolutePath = ""
    """The service directory of runit or s6; empty: the usual places."""
    pid_file: AbsolutePath = ""
    """The pid file of an init script; empty: the one the script names, /run/NAME.pid, /run/*/NAME.pid."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_more(cls, data: Any) -> Any:
        """A list may stand under both names; the first of several is `service_name`."""
        if not isinstance(data, dict):
            return data
        name, several = data.get("service_name"), data.get("services")
        if isinstance(name, list | tuple) and not several:
            several = name
        if not isinstance(several, list | tuple) or not several:
            return data
        if isinstance(name, str) and name != several[0]:
            raise ValueError("give either service_name or services")
        return {**data, "service_name": several[0], "services": tuple(several)}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.require_healthy_before and self.health_check is None and not self.health_checks:
            raise ValueError("require_healthy_before needs a health_check")
        if twice := sorted({name for name in self.services if self.services.count(name) > 1}):
            raise ValueError(f"a service is named twice: {', '.join(twice)}")
        if stray := sorted(set(self.health_checks) - set(self.names)):
            raise ValueError(f"health_checks name what is not restarted: {', '.join(stray)}")
        if len({file.path for file in self.config_files}) < len(self.config_files):
            raise ValueError("a path stands twice in config_files")
        if len(self.names) > 1 and (self.service_dir or self.pid_file):
            raise ValueError("service_dir and pid_file belong to one service; ask for each alone")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All services, in the order in which they were named."""
        return self.services or (self.service_name,)

    def alone(self, name: str) -> ServiceRestartParams:
        """The parameters for one of them."""
        check = self.health_checks.get(name, self.health_check)
        needed = self.require_healthy_before and check is not None
        changed = {"service_name": name, "services": (), "health_check": check, "require_healthy_before": needed}
        return self.model_copy(update=changed)

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

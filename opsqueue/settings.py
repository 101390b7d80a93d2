"""One frozen `Settings`, from one file (JSON or TOML) and the environment; what is accepted is enforced."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from opsqueue.errors import InvalidConfig, InvalidRequest
from opsqueue.model.host import Host, group_name, host_name
from opsqueue.model.misspelt import nearest
from opsqueue.model.window import Window, parse_window
from opsqueue.secrets import SecretRef
from opsqueue.settings_alerts import AlertSettings
from opsqueue.settings_blame import explain, unreadable
from opsqueue.settings_channels import ChannelRules, Rules, doubts, rules_of
from opsqueue.settings_file import find_config, read_config
from opsqueue.settings_parts import (
    CoordinatorSettings,
    DeploymentSettings,
    FlowerSettings,
    HostSettings,
    KpiSettings,
    LoggingSettings,
    RolloutSettings,
    ScheduleSettings,
    SshSettings,
    Thresholds,
    WindowSettings,
    WorkerSettings,
)

_LATER = ("approvals", "roles")
"""Keys of the public face that this version cannot honour yet, and so refuses."""
_ALONE = "its own"
"""What the window of one host is called; the same for all, so that hosts with the same windows are told together."""
_KEEP = {
    "database_maintenance": "backup_retention_days",
    "backup_operation": "backup_retention_days",
    "log_rotation": "log_retention_days",
}
"""The types that remove what is older than a setting says; their parameter has its name."""


def _state_home() -> Path:
    try:
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "opsqueue"
    except RuntimeError:
        raise InvalidConfig(
            "this user has no home directory, so there is no place for the state: set state_dir"
        ) from None


class Settings(BaseSettings):
    """Every setting, its unit and its default; each also as `OPSQUEUE_…` in the environment."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="OPSQUEUE_", env_nested_delimiter="__", allow_inf_nan=False
    )

    monitoring_interval: int = Field(default=60, ge=1)
    """Seconds between two recurring readings of the system metrics."""
    max_concurrent_operations: int = Field(default=5, ge=1, le=100_000)
    max_concurrent_by_type: Mapping[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    default_timeout: int = Field(default=300, ge=1, le=7 * 86_400)
    """Seconds, where a request names none."""
    log_retention_days: int = Field(default=30, ge=1)
    backup_retention_days: int = Field(default=90, ge=1)
    history_retention_days: int = Field(default=365, ge=1)
    sample_retention_days: int = Field(default=7, ge=1)
    """Of measured values; for longer, only their summaries are kept: of 5 minutes, an hour and a day."""
    sample_5m_retention_days: int = Field(default=90, ge=1)
    sample_1h_retention_days: int = Field(default=730, ge=1)
    sample_1d_retention_days: int = Field(default=1825, ge=1)
    alert_thresholds: Thresholds = Thresholds()
    alerts: AlertSettings = AlertSettings()
    notification_channels: Mapping[str, str] = Field(default_factory=dict)
    notification_urls: Mapping[str, str | SecretRef | tuple[str | SecretRef, ...]] = Field(default_factory=dict)
    notification_rules: Rules = Field(default_factory=dict)
    """By channel, or `channel#recipient`: fallback, quiet hours, summaries, limits, signatures."""
    default_channels: tuple[str, ...] = ("log",)
    """Told when a request names no channel."""
    maintenance_windows: Mapping[str, str | WindowSettings] = Field(default_factory=dict, max_length=100)
    window_policy: Literal["defer", "reject"] = "defer"
    """What a closed window does to a changing operation: wait for it, or be denied."""
    timezone: str = "UTC"
    broker_url: str | SecretRef | None = None
    """A `redis://` URL; without one an own Redis is started on a Unix socket in the state directory."""
    broker_prefix: str = ""
    """Before every Redis key, where Redis is shared; plain Celery producers then need the same `global_keyprefix`."""
    database_url: str | SecretRef | None = None
    """`sqlite:///…` or `postgresql+psycopg://…`; without one SQLite in the state directory."""
    state_dir: Path = Field(default_factory=_state_home)
    hosts: Mapping[str, HostSettings] = Field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Hosts, and other groups, by the name of the group."""
    inventory: Path | tuple[Path, ...] = ()
    """Files of hosts and groups, in our form or Ansible's, and programs that print such."""
    inventory_refresh: float = Field(default=300, ge=1, le=86_400)
    """Seconds after which a worker runs the programs of the inventory again."""
    ssh: SshSettings = SshSettings()
    rollout: RolloutSettings = RolloutSettings()
    verification: tuple[CoordinatorSettings, ...] = ()
    schedule: Mapping[str, ScheduleSettings | Literal[False]] = Field(default_factory=dict)
    """Recurring operations beside the built-in ones; `false` under a built-in name turns it off."""
    worker: WorkerSettings = WorkerSettings()
    logging: LoggingSettings = LoggingSettings()
    flower: FlowerSettings = FlowerSettings()
    kpi: KpiSettings = KpiSettings()
    deployments: Mapping[str, DeploymentSettings] = Field(default_factory=dict)
    """What follows a deployment, by the name of the service."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no IANA time zone is called {zone!r}; one is called Europe/Berlin") from None
        return zone

    @model_validator(mode="after")
    def _everything_can_be_honoured(self) -> Settings:
        try:
            for name in self.hosts:
                host_name(name)
            for name in self.groups:
                group_name(name)
            self.windows()
        except InvalidRequest as error:
            raise ValueError(error.message) from None
        if wrong := list(doubts(self.notification_rules, self._recipients())):
            raise ValueError("; ".join(wrong))
        return self

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Every channel that can be named; `log` is always one."""
        return tuple(dict.fromkeys((*self.notification_channels, *self.notification_urls, "log")))

    def _recipients(self) -> dict[str, tuple[str, ...]]:
        """By channel those of its recipients that can be named, which are those of a channel that has several."""
        plain = {name: [one.strip() for one in text.split(",")] for name, text in self.notification_channels.items()}
        urls = {name: value for name, value in self.notification_urls.items() if isinstance(value, tuple)}
        numbers = {name: [str(number) for number in range(1, len(value) + 1)] for name, value in urls.items()}
        named = {**numbers, **{name: who for name, who in plain.items() if name not in numbers}}
        return {name: tuple(who) if len(who := named.get(name, [])) > 1 else () for name in self.channel_names}

    def rules(self, channel: str) -> ChannelRules:
        """What counts for a channel, or for one of its recipients."""
        return rules_of(self.notification_rules, channel)

    def windows(self) -> tuple[Window, ...]:
        """The maintenance windows, parsed."""
        return tuple(self._window(name, spec) for name, spec in self.maintenance_windows.items())

    def _window(self, name: str, spec: str | WindowSettings) -> Window:
        given = WindowSettings(spec=spec) if isinstance(spec, str) else spec
        return parse_window(
            name,
            given.spec,
            timezone=given.timezone or self.timezone,
            hosts=given.hosts,
            groups=given.groups,
            types=given.types,
            policy=given.policy or self.window_policy,
            overrun=given.overrun,
            permit=given.permit,
            mute=given.mute,
        )

    def host(self, name: str, given: HostSettings, groups: tuple[str, ...] = ()) -> Host:
        """A host as it is, with what counts for all; InvalidRequest or ValidationError when it cannot be one."""
        usual = self.ssh if given.connector == "ssh" else SshSettings()
        fallback = "" if usual.gateway == name else usual.gateway
        windows = (
            parse_window(_ALONE, spec, timezone=self.timezone, policy=self.window_policy) for spec in given.windows
        )
        return Host(
            name=name,
            address=given.address,
            connector=given.connector,
            port=usual.port if given.port is None else given.port,
            user=usual.user if given.user is None else given.user,
            key_file=usual.key_file if given.key_file is None else given.key_file,
            certificate_file=usual.certificate_file if given.certificate_file is None else given.certificate_file,
            gateway=fallback if given.gateway is None else given.gateway,
            tags=given.tags,
            groups=groups,
            windows=tuple(windows),
            parameters=self._with_retention(given.parameters),
        )

    def _with_retention(self, given: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        """The host's own defaults, with the time after which old backups and logs go where it is set."""
        found = {kind: name for kind, name in _KEEP.items() if name in self.model_fields_set}
        usual = {kind: {name: getattr(self, name)} for kind, name in found.items()}
        return {**given, **{kind: {**own, **given.get(kind, {})} for kind, own in usual.items()}}

    @property
    def inventory_files(self) -> tuple[Path, ...]:
        """The files and programs of the setting `inventory`."""
        return (self.inventory,) if isinstance(self.inventory, Path) else self.inventory

    @property
    def added_hosts(self) -> Path:
        """The file that `opsqueue hosts add` writes."""
        return self.state_dir.absolute() / "hosts.json"

    @property
    def database(self) -> str:
        """The URL of the record."""
        if self.database_url is None:
            return f"sqlite:///{self.state_dir / 'opsqueue.db'}"
        return revealed(self.database_url)

    @property
    def known_hosts(self) -> Path:
        """The file of the SSH keys that are trusted."""
        return (self.ssh.known_hosts or self.state_dir / "known_hosts").absolute()

    @property
    def log_dir(self) -> Path:
        """Where operations.log and system-metrics.log are."""
        return (self.logging.directory or self.state_dir / "logs").absolute()


def revealed(value: str | SecretRef) -> str:
    """The text itself, or what the reference points to; InvalidConfig when that cannot be read."""
    return value.resolve() if isinstance(value, SecretRef) else value


def load(explicit: str | None = None) -> Settings:
    """The settings, or InvalidConfig that says which key is wrong, and the nearest known one."""
    path = find_config(explicit)
    data = read_config(path) if path else {}
    _refuse_unknown(data, where=str(path))
    _refuse_unknown_environment()
    try:
        return Settings(**data)
    except ValidationError as error:
        raise InvalidConfig(explain(error, str(path or "the settings"), Settings)) from None
    except SettingsError as error:
        raise InvalidConfig(unreadable(error)) from None


def _refuse_unknown(data: Mapping[str, Any], where: str) -> None:
    for key in data:
        if key in _LATER:
            raise InvalidConfig(f"{where}: {key} cannot be honoured by this version of opsqueue; take it out")
        if key not in Settings.model_fields:
            raise InvalidConfig(f"{where}: there is no setting {key!r}{nearest(key, Settings.model_fields)}")


def _refuse_unknown_environment() -> None:
    known = {f"OPSQUEUE_{name.upper()}" for name in Settings.model_fields}
    spoken = {"OPSQUEUE_CONFIG", "OPSQUEUE_MARK"}
    for name in os.environ:
        if name.startswith("OPSQUEUE_") and name.split("__")[0] not in known | spoken:
            raise InvalidConfig(f"the environment has {name}, which is no setting{nearest(name, known)}")

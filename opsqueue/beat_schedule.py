"""What happens by the clock, as plain data built from the settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from opsqueue.settings import Settings

UPKEEP_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recurring operation: `every` so many seconds, or by a `cron` expression in `timezone`."""

    name: str
    type: str
    every: int | None = None
    cron: str | None = None
    timezone: str = "UTC"
    systems: tuple[str, ...] = ("all",)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    priority: str = "low"
    channels: tuple[str, ...] = ("log",)

    def request(self) -> dict[str, Any]:
        """What it asks for each time, in the form of `OperationConfig`."""
        return {
            "name": self.name,
            "type": self.type,
            "target_systems": list(self.systems),
            "parameters": dict(self.parameters),
            "priority": self.priority,
            "notification_channels": list(self.channels),
        }


def build(settings: Settings, types: Collection[str]) -> dict[str, Entry]:
    """The entries by name: the built-in ones whose type exists, changed and added to by `schedule`."""
    entries = {entry.name: entry for entry in _built_in(settings) if entry.type in types}
    for name, given in settings.schedule.items():
        entries.pop(name, None)
        if given is False or not given.enabled:
            continue
        entries[name] = Entry(
            name=name,
            type=given.type,
            every=given.every,
            cron=given.cron,
            timezone=settings.timezone,
            systems=given.systems,
            parameters=given.parameters,
            priority=given.priority,
            channels=given.notify,
        )
    return entries


def built_in_names(settings: Settings) -> frozenset[str]:
    """The names that `schedule` may turn off with `false`."""
    return frozenset(entry.name for entry in _built_in(settings))


def _built_in(settings: Settings) -> tuple[Entry, ...]:
    zone = settings.timezone
    return (
        Entry(name="system-monitoring", type="system_monitoring", every=settings.monitoring_interval),
        Entry(name="health-check", type="health_check", every=300, priority="normal"),
        Entry(
            name="log-rotation",
            type="log_rotation",
            cron="15 3 * * *",
            timezone=zone,
            parameters={"when_unclear": "skip"},
        ),
        Entry(
            name="backup",
            type="backup_operation",
            cron="30 2 * * *",
            timezone=zone,
            parameters={"when_unclear": "skip"},
        ),
        Entry(
            name="database-maintenance",
            type="database_maintenance",
            cron="30 3 * * sun",
            timezone=zone,
            parameters={"maintenance_type": "integrity_check", "when_unclear": "skip"},
        ),
        Entry(name="security-scan", type="security_scan", cron="30 4 * * sun", timezone=zone),
        Entry(name="capacity-planning", type="capacity_planning", cron="0 5 * * *", timezone=zone),
    )

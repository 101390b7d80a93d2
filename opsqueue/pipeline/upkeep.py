"""Housekeeping: history, samples and logs are kept as long as the settings say."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from opsqueue.model.record import Event
from opsqueue.pipeline.world import World
from opsqueue.store import alert_parts, alerts, events, history, holds, samples
from opsqueue.telemetry import counted

_log = logging.getLogger("opsqueue.upkeep")
BURIED = "messages_buried"
_DAY = 86_400.0
_CHUNKS = 20
_EVERY = 3600.0


def upkeep(world: World) -> None:
    """Forget what is older than the retention settings, in chunks; at most once an hour in the whole cluster."""
    now = world.now()
    with world.store.begin() as tx:
        if not holds.take_lease(
            tx, f"upkeep@{now // _EVERY:.0f}", holder=f"{world.worker}@{now}", now=now, until=now + _EVERY
        ):
            return
        holds.drop_leases(tx, before=now - _DAY)
    _prune_history(world, now - world.settings.history_retention_days * _DAY)
    with world.store.begin() as tx:
        samples.prune(tx, now - world.settings.sample_retention_days * _DAY)
    _prune_alerts(world, now - world.settings.alerts.history_retention_days * _DAY)
    rotate_logs(world.settings.log_dir, world.settings.log_retention_days, now)


def _prune_history(world: World, before: float) -> None:
    for _ in range(_CHUNKS):
        with world.store.begin() as tx:
            gone = history.prune(tx, before)
        if not gone:
            return
        _log.info("forgot %d operations that ended long ago", gone)


def _prune_alerts(world: World, before: float) -> None:
    with world.store.begin() as tx:
        alerts.prune(tx, before)
        alert_parts.prune_silences(tx, before)
        alert_parts.prune_steps(tx, before)
        alert_parts.prune_attempts(tx, before)


def note_buried(world: World, total: int) -> None:
    """Write into the history that messages were buried since it was last written; `total` is counted by Redis."""
    with world.store.begin() as tx:
        last = events.latest(tx, BURIED, 1)
        known = int(last[0].data["total"]) if last else 0
        new = total - known if total >= known else total  # Redis was emptied, and counts anew
        if total == known:
            return
        message = f"{counted(new, 'message')} that could not be read: buried"
        data = {"total": total, "new": new}
        events.append(tx, [Event(operation_id=None, at=world.now(), kind=BURIED, message=message, data=data)])


def rotate_logs(directory: Path, days: int, now: float) -> None:
    """Give yesterday's log a date, and delete logs older than `days`; writers notice the new file by themselves."""
    today = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d")
    for name in ("operations.log", "system-metrics.log"):
        path = directory / name
        if path.is_file() and _day(path) < today and not (old := directory / f"{name}-{_day(path)}").exists():
            path.rename(old)
        for kept in directory.glob(f"{name}-*"):
            if now - kept.stat().st_mtime > days * _DAY:
                kept.unlink(missing_ok=True)


def _day(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y%m%d")

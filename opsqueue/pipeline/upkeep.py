"""Housekeeping: history, samples and logs are kept as long as the settings say."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from opsqueue.model.record import Event
from opsqueue.model.sample import LEVELS
from opsqueue.pipeline.alerting import rules_now
from opsqueue.pipeline.postbox import keep_for
from opsqueue.pipeline.world import World
from opsqueue.store import alert_parts, alerts, deployments, events, history, holds, rolling, sends, tellings
from opsqueue.telemetry import counted

_log = logging.getLogger("opsqueue.upkeep")
BURIED = "messages_buried"
_DAY = 86_400.0
_CHUNKS = 20
_MOST_SAMPLES = 5_000_000
"""Summarised in one turn at most; the rest, such as that of years before an upgrade, in the next ones."""
_EVERY = 3600.0
_PIECE, _PIECE_ALONE = 20_000, 5_000
"""Samples that are summarised in one transaction; fewer where nobody else can write meanwhile."""
_PAUSE, _LONGEST_PAUSE, _HARDLY = 0.1, 5.0, 0.02
"""Seconds."""


def upkeep(world: World) -> None:
    """Forget what is older than the retention settings, in chunks; at most once an hour in the whole cluster.

    What is forgotten cannot be brought back, so a clock that is ahead is believed by a day each time at most.
    """
    now = world.now()
    with world.store.begin() as tx:
        if not holds.take_lease(
            tx, f"upkeep@{now // _EVERY:.0f}", holder=f"{world.worker}@{now}", now=now, until=now + _EVERY
        ):
            return
        holds.drop_leases(tx, before=now - _DAY)
        sure = holds.believed(tx, "upkeep", now, _DAY)
    if sure < now:
        _log.warning(
            "the clock is %.0f days after the last upkeep: forgetting catches up by a day", (now - sure) / _DAY
        )
    _prune_history(world, sure - world.settings.history_retention_days * _DAY)
    _prune_messages(world, sure - world.settings.history_retention_days * _DAY)
    _prune_sends(world, sure - keep_for(world))
    with world.store.begin() as tx:
        deployments.prune(tx, sure - world.settings.history_retention_days * _DAY)
    _roll(world, now)
    _prune_samples(world, sure)
    _prune_alerts(world, sure - world.settings.alerts.history_retention_days * _DAY)
    rotate_logs(world.settings.log_dir, world.settings.log_retention_days, sure)


def _prune_history(world: World, before: float) -> None:
    for _ in range(_CHUNKS):
        with _politely(), world.store.begin() as tx:
            gone = history.prune(tx, before)
        if not gone:
            return
        _log.info("forgot %d operations that ended long ago", gone)


def _prune_sends(world: World, before: float) -> None:
    for _ in range(_CHUNKS):
        with _politely(), world.store.begin() as tx:
            if not sends.prune(tx, before):
                return


def _prune_alerts(world: World, before: float) -> None:
    with world.store.begin() as tx:
        alerts.prune(tx, before)
        alert_parts.prune_silences(tx, before)
        alert_parts.prune_steps(tx, before)
        alert_parts.prune_attempts(tx, before)
        alerts.forget_health(tx, rules_now(world.settings, tx))


def _prune_messages(world: World, before: float) -> None:
    for _ in range(_CHUNKS):
        with _politely(), world.store.begin() as tx:
            if not tellings.prune(tx, before):
                return


@contextmanager
def _politely() -> Iterator[None]:
    """A piece of work, and a pause as long as it took: SQLite has no queue, and who writes on and on shuts others out.

    What had nothing to do makes no pause worth mentioning.
    """
    begin = time.monotonic()
    yield
    took = time.monotonic() - begin
    if took > _HARDLY:
        time.sleep(min(max(took, _PAUSE), _LONGEST_PAUSE))


def _roll(world: World, now: float) -> None:
    """Summarise the samples of steps that are over; whoever dies in the middle leaves the rest to the next turn."""
    left, piece = _MOST_SAMPLES, _PIECE_ALONE if world.store.sqlite else _PIECE
    while left > 0:
        with _politely(), world.store.begin(lasting=False) as tx:
            taken = rolling.roll(tx, now, piece)
        if taken is None:
            return
        left -= max(1, taken)


def _prune_samples(world: World, now: float) -> None:
    settings = world.settings
    gone = 1
    while gone:
        with _politely(), world.store.begin(lasting=False) as tx:
            gone = rolling.forget_samples(tx, now - settings.sample_retention_days * _DAY)
    days = (settings.sample_5m_retention_days, settings.sample_1h_retention_days, settings.sample_1d_retention_days)
    before = {step: now - kept * _DAY for step, kept in zip(LEVELS, days, strict=True)}
    after: int | None = 0
    while after is not None:
        with _politely(), world.store.begin(lasting=False) as tx:
            after = rolling.forget_rollups(tx, before, after)
    with world.store.begin() as tx:
        rolling.forget_empty(tx)


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

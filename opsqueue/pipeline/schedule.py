"""Recurring operations: each slot submits once however many Beats tick; a missed slot is caught up once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from croniter import croniter

from opsqueue.beat_schedule import Entry
from opsqueue.errors import Conflict, NotFound, OpsqueueError
from opsqueue.model.record import Operation
from opsqueue.model.request import parse_request
from opsqueue.pipeline.submit import submit
from opsqueue.pipeline.world import World
from opsqueue.store import schedules

_log = logging.getLogger("opsqueue.schedule")
_SPACE = UUID("7c9d2f0e-5d9b-4b57-9a56-6f7073717565")


def latest_slot(entry: Entry, now: float) -> float:
    """The newest moment at or before `now` at which this entry was to happen, in UNIX seconds."""
    if entry.every is not None:
        return now - now % entry.every
    local = datetime.fromtimestamp(now, ZoneInfo(entry.timezone))
    # `get_prev` gives a moment strictly before; a second later, the present one counts too.
    found: float = croniter(entry.cron, local).get_prev(float, start_time=now + 1)
    if found > now:
        found = croniter(entry.cron, local).get_prev(float, start_time=found)
    return _first_of_its_hour(entry, found)


def next_slot(entry: Entry, now: float) -> float:
    """The first moment after `now` at which this entry is to happen, in UNIX seconds."""
    if entry.every is not None:
        return now - now % entry.every + entry.every
    moments = croniter(entry.cron, datetime.fromtimestamp(now, ZoneInfo(entry.timezone)))
    while True:
        found = _first_of_its_hour(entry, moments.get_next(float))
        if found > now:
            return found


def _first_of_its_hour(entry: Entry, slot: float) -> float:
    """In the hour that comes twice in autumn, what is to happen at an hour happens at the first, and once."""
    if str(entry.cron).split()[1].startswith("*"):
        return slot  # every so many minutes or hours: both of them count
    return datetime.fromtimestamp(slot, ZoneInfo(entry.timezone)).replace(fold=0).timestamp()


def tick(world: World, entry: Entry) -> Operation | None:
    """Submit the entry's newest slot, if nobody has; None when there is nothing to do."""
    now = world.now()
    slot = latest_slot(entry, now)
    with world.store.begin() as tx:
        since = schedules.known_since(tx, entry.name, now)
        last = schedules.last_slot(tx, entry.name, now)
    if last is not None and last >= slot:
        return None
    if last is None and slot < since and entry.cron is not None:
        return None  # it was to happen before anybody had asked for it
    request = parse_request(
        {
            **entry.request(),
            "operation_id": str(uuid5(_SPACE, f"{entry.name}@{slot}")),
            "requested_by": f"schedule:{entry.name}",
        }
    )
    return submit(world, request, schedule=entry.name, slot=slot)


def tick_all(world: World, entries: Iterable[Entry]) -> int:
    """Catch up every entry whose newest slot was missed; returns how many were submitted."""
    submitted = 0
    for entry in entries:
        try:
            submitted += tick(world, entry) is not None
        except (NotFound, Conflict, OpsqueueError) as error:
            _log.error("FAILED to submit schedule %s: %s", entry.name, error.message)
    return submitted

"""Which slots of which schedule were submitted."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from opsqueue.store.schema import operations, schedules

_AHEAD = 120.0
"""Seconds by which clocks of the cluster may differ; what is later than that was written before ours was set back."""


def known_since(tx: Connection, name: str, now: float) -> float:
    """When this schedule was first seen, now if it never was; slots before that are nobody's loss."""
    found = tx.execute(select(schedules.c.known_since).where(schedules.c.name == name)).scalar()
    if found is not None and found <= now + _AHEAD:
        return float(found)
    if found is not None:
        tx.execute(update(schedules).where(schedules.c.name == name).values(known_since=now))
        return now
    try:
        with tx.begin_nested():
            tx.execute(insert(schedules), {"name": name, "known_since": now})
    except IntegrityError:  # another worker saw it at the same moment
        return now
    return now


def last_slot(connection: Connection, name: str, now: float) -> float | None:
    """The newest slot of this schedule that was submitted; those of a future that cannot be keep nobody waiting."""
    mine = (operations.c.schedule == name, operations.c.slot <= now + _AHEAD)
    return connection.execute(select(func.max(operations.c.slot)).where(*mine)).scalar()

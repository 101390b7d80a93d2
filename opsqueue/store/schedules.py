"""Which slots of which schedule were submitted."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from opsqueue.store.schema import operations, schedules


def known_since(tx: Connection, name: str, now: float) -> float:
    """When this schedule was first seen, now if it never was; slots before that are nobody's loss."""
    found = tx.execute(select(schedules.c.known_since).where(schedules.c.name == name)).scalar()
    if found is not None:
        return float(found)
    try:
        with tx.begin_nested():
            tx.execute(insert(schedules), {"name": name, "known_since": now})
    except IntegrityError:  # another worker saw it at the same moment
        return now
    return now


def last_slot(connection: Connection, name: str) -> float | None:
    """The newest slot of this schedule that was submitted."""
    return connection.execute(select(func.max(operations.c.slot)).where(operations.c.schedule == name)).scalar()

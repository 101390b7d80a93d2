"""The history, appended only."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select

from opsqueue.model.record import Event
from opsqueue.store.rows import event_of, event_row
from opsqueue.store.schema import events as table

_INSERT = insert(table)
_OF = (
    select(table)
    .where(table.c.operation_id == bindparam("the_operation"), table.c.id > bindparam("after"))
    .order_by(table.c.id)
)


def append(tx: Connection, events: Sequence[Event]) -> None:
    """Add lines of history."""
    if events:
        tx.execute(_INSERT, [event_row(event) for event in events])


def of(connection: Connection, operation_id: str, after: int = 0) -> tuple[Event, ...]:
    """The lines of one operation whose id is above `after`, oldest first."""
    rows = connection.execute(_OF, {"the_operation": operation_id, "after": after}).mappings()
    return tuple(event_of(row) for row in rows)


def count_results(connection: Connection, operation_id: str, result: str) -> int:
    """How many times a stage of this operation ended with this word."""
    return sum(line.kind == "stage" and line.data.get("result") == result for line in of(connection, operation_id))


def latest(connection: Connection, kind: str, limit: int = 50) -> tuple[Event, ...]:
    """The newest lines of one kind that belong to no operation, newest first."""
    # `operation_id IS NULL` is what the index finds: these lines are few, however long the history is.
    query = select(table).where(table.c.operation_id.is_(None), table.c.kind == kind)
    rows = connection.execute(query.order_by(table.c.id.desc()).limit(limit)).mappings()
    return tuple(event_of(row) for row in rows)

"""Every delivery of a time, of operations and of messages without one, with when it was written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, func, or_, select

from opsqueue.model.names import Stage
from opsqueue.model.record import WAITING, Delivery, Told
from opsqueue.store.schema import OPEN, deliveries, events, messages, operations, tellings

_COLUMNS = tuple(name for name in Delivery.__dataclass_fields__ if name != "operation_id")
_WORK_OVER = (
    select(func.min(events.c.at))
    .where(events.c.operation_id == operations.c.id, events.c.kind == "stage", events.c.stage == Stage.ANALYZE.value)
    .scalar_subquery()
)
_OF_OPERATIONS = select(deliveries, func.coalesce(_WORK_OVER, operations.c.created_at).label("written")).join(
    operations, operations.c.id == deliveries.c.operation_id
)
_OF_MESSAGES = select(tellings, messages.c.created_at.label("written")).join(
    messages, messages.c.event == tellings.c.event
)


def since(connection: Connection, at: float) -> tuple[Told, ...]:
    """What was written down since then, and what waits, whenever that was; some that are a little older, too."""
    of_operations = _OF_OPERATIONS.where(or_(OPEN, operations.c.finished_at >= at))
    of_messages = _OF_MESSAGES.where(or_(messages.c.created_at >= at, tellings.c.status.in_(WAITING)))
    return tuple(_told([*_rows(connection, of_operations), *_rows(connection, of_messages)]))


def _rows(connection: Connection, query: Any) -> Iterable[Mapping[Any, Any]]:
    return connection.execute(query).mappings()


def _told(rows: Iterable[Mapping[Any, Any]]) -> Iterable[Told]:
    for row in rows:
        known = {name: row[name] for name in _COLUMNS}
        delivery = Delivery(operation_id=row.get("operation_id", ""), **known)
        yield Told(delivery=delivery, written=row["written"])

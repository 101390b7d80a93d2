"""The outbox: one row per operation, event and channel, so that nothing is told twice or forgotten."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, select

from opsqueue.model.record import Delivery
from opsqueue.store.gently import insert_new, put
from opsqueue.store.rows import delivery_of
from opsqueue.store.schema import deliveries as table

_OF = select(table).where(table.c.operation_id == bindparam("the_operation")).order_by(table.c.channel)


def of(connection: Connection, operation_id: str) -> tuple[Delivery, ...]:
    """What is, or was, to be told about an operation."""
    rows = connection.execute(_OF, {"the_operation": operation_id}).mappings()
    return tuple(delivery_of(row) for row in rows)


def to(connection: Connection, channel: str, operations: Collection[str]) -> tuple[Delivery, ...]:
    """What these operations have to tell this recipient."""
    query = select(table).where(table.c.operation_id.in_(operations), table.c.channel == channel)
    return tuple(delivery_of(row) for row in connection.execute(query).mappings())


def add(tx: Connection, deliveries: Sequence[Delivery]) -> None:
    """Put messages into the outbox; one that is there already stays as it is."""
    for delivery in deliveries:
        insert_new(tx, table, _row(delivery))


def save(tx: Connection, delivery: Delivery) -> None:
    """Write how a delivery stands, whether it was there before or not."""
    put(tx, table, _row(delivery))


def _row(delivery: Delivery) -> dict[str, object]:
    return {name: getattr(delivery, name) for name in Delivery.__dataclass_fields__}

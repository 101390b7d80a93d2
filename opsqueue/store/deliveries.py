"""The outbox: one row per operation, event and channel, so that nothing is told twice or forgotten."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from opsqueue.model.record import WAITING, Delivery
from opsqueue.store.gently import insert_new, put
from opsqueue.store.rows import delivery_of
from opsqueue.store.schema import OPEN, operations
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


def mend_clock(tx: Connection, now: float, far: float) -> list[str]:
    """Have tried now what waits for a future that cannot be: it was tried, or asked for, after now.

    The clock was set back since then. Returns the operations that wait for it.
    """
    written = or_(table.c.at > now + far, and_(table.c.at.is_(None), operations.c.created_at > now + far))
    late = (
        select(table.c.operation_id)
        .join(operations, operations.c.id == table.c.operation_id)
        .where(OPEN, operations.c.holder == "", operations.c.due_at > now + far)
        .where(operations.c.hold.contains('"delivery"'))
        .where(table.c.status.in_(WAITING), table.c.next_at > now + far, written)
    )
    found = sorted(set(tx.execute(late).scalars()))
    if found:
        mine = (table.c.operation_id.in_(found), table.c.status.in_(WAITING), table.c.next_at > now + far)
        tx.execute(update(table).where(*mine).values(next_at=now))
    return found


def _row(delivery: Delivery) -> dict[str, object]:
    return {name: getattr(delivery, name) for name in Delivery.__dataclass_fields__}

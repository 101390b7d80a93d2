"""The outbox: one row per operation, event and channel, so that nothing is told twice or forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from opsqueue.model.record import Delivery
from opsqueue.store.rows import delivery_of
from opsqueue.store.schema import deliveries as table

_OF = select(table).where(table.c.operation_id == bindparam("the_operation")).order_by(table.c.channel)
_SAVE = (
    update(table)
    .where(
        table.c.operation_id == bindparam("the_operation"),
        table.c.event == bindparam("the_event"),
        table.c.channel == bindparam("the_channel"),
    )
    .values({name: bindparam(f"new_{name}") for name in ("status", "attempts", "next_at", "at", "error")})
)


def of(connection: Connection, operation_id: str) -> tuple[Delivery, ...]:
    """What is, or was, to be told about an operation."""
    rows = connection.execute(_OF, {"the_operation": operation_id}).mappings()
    return tuple(delivery_of(row) for row in rows)


def add(tx: Connection, deliveries: Sequence[Delivery]) -> None:
    """Put messages into the outbox; one that is there already stays as it is."""
    for delivery in deliveries:
        row = {name: getattr(delivery, name) for name in Delivery.__dataclass_fields__}
        try:
            with tx.begin_nested():
                tx.execute(insert(table), row)
        except IntegrityError:
            continue


def save(tx: Connection, delivery: Delivery) -> None:
    """Write how a delivery stands."""
    tx.execute(
        _SAVE,
        {
            "the_operation": delivery.operation_id,
            "the_event": delivery.event,
            "the_channel": delivery.channel,
            **{f"new_{name}": getattr(delivery, name) for name in ("status", "attempts", "next_at", "at", "error")},
        },
    )

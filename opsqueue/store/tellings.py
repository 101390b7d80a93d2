"""The outbox of messages that belong to no operation: one row per event and recipient, so that nothing is told twice.

A row is written before its first try. `attempts` is its fencing token: it grows with each try, and only who made the
last one may write what came of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, select, update

from opsqueue.model.record import Delivery
from opsqueue.store.gently import insert_new
from opsqueue.store.rows import kept, pack, unpack
from opsqueue.store.schema import GATHERED, UNTOLD, messages
from opsqueue.store.schema import tellings as table

_COLUMNS = tuple(name for name in Delivery.__dataclass_fields__ if name != "operation_id")
_DUE = select(table).where(UNTOLD, table.c.next_at <= bindparam("now")).order_by(table.c.next_at)
_OF = select(table).where(table.c.event == bindparam("the_event")).order_by(table.c.channel)
_SAVE = (
    update(table)
    .where(table.c.event == bindparam("the_event"), table.c.channel == bindparam("the_channel"))
    .where(table.c.attempts == bindparam("seen"))
)


def add(tx: Connection, message: Mapping[str, Any], deliveries: Sequence[Delivery]) -> bool:
    """Write a message and whom it is for; False, and nothing is written, when its event is known already."""
    texts = {name: kept(message[name]) for name in ("event", "title", "body", "short", "alike")}
    if not insert_new(tx, messages, {**message, **texts, "payload": pack(message["payload"])}):
        return False
    for delivery in deliveries:
        insert_new(tx, table, _row(delivery))
    return True


def add_recipients(tx: Connection, deliveries: Sequence[Delivery]) -> None:
    """Further recipients of messages that are known; who is there already stays as it is."""
    for delivery in deliveries:
        insert_new(tx, table, _row(delivery))


def due(connection: Connection, now: float, limit: int) -> tuple[Delivery, ...]:
    """What is to be tried now, the longest due first; also what somebody began to send and never ended."""
    return tuple(_delivery(row) for row in connection.execute(_DUE.limit(limit), {"now": now}).mappings())


def due_soon(connection: Connection, until: float) -> bool:
    """Whether anything is to be told before then."""
    gathered = select(table.c.event).where(GATHERED, table.c.next_at <= until).limit(1)
    found = connection.execute(_DUE.limit(1), {"now": until}).first() or connection.execute(gathered).first()
    return found is not None


def of(connection: Connection, event: str) -> tuple[Delivery, ...]:
    """Whom an event is told to, and how that stands."""
    return tuple(_delivery(row) for row in connection.execute(_OF, {"the_event": event}).mappings())


def message(connection: Connection, event: str) -> Mapping[str, Any]:
    """The columns of the message of an event."""
    row = connection.execute(select(messages).where(messages.c.event == event)).mappings().one()
    return {**row, "payload": unpack(row["payload"])}


def save(tx: Connection, delivery: Delivery, *, seen: int) -> bool:
    """Write how a delivery stands; False when somebody else tried it since it was seen with so many attempts."""
    values = {name: getattr(delivery, name) for name in _COLUMNS if name not in {"event", "channel"}}
    done = tx.execute(
        _SAVE.values(values), {"the_event": delivery.event, "the_channel": delivery.channel, "seen": seen}
    )
    return done.rowcount == 1


def prune(tx: Connection, before: float, limit: int = 500) -> int:
    """Forget at most `limit` messages of before then that nobody is to be told of any more; returns how many."""
    waiting = exists().where(and_(table.c.event == messages.c.event, table.c.status.in_(_WAITING)))
    old = select(messages.c.event).where(messages.c.created_at < before, ~waiting).limit(limit)
    events = list(tx.execute(old).scalars())
    tx.execute(delete(table).where(table.c.event.in_(events)))
    tx.execute(delete(messages).where(messages.c.event.in_(events)))
    return len(events)


_WAITING = ("queued", "sending", "failed", "summary")


def _row(delivery: Delivery) -> dict[str, Any]:
    return {name: getattr(delivery, name) for name in _COLUMNS}


def _delivery(row: Mapping[Any, Any]) -> Delivery:
    return Delivery(operation_id="", **{name: row[name] for name in _COLUMNS})

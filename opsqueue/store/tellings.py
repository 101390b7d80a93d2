"""The outbox of messages that belong to no operation: one row per event and recipient, so that nothing is told twice.

A row is written before its first try. `attempts` is its fencing token: it grows with each try, and only who made the
last one may write what came of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, delete, exists, func, or_, select, update

from opsqueue.model.record import WAITING, Delivery
from opsqueue.store.gently import insert_new
from opsqueue.store.rows import kept, pack, unpack
from opsqueue.store.schema import GATHERED, UNTOLD, deliveries, messages
from opsqueue.store.schema import tellings as table

_COLUMNS = tuple(name for name in Delivery.__dataclass_fields__ if name != "operation_id")
_DUE = select(table).where(UNTOLD, table.c.next_at <= bindparam("now"))
_DUE_TO = _DUE.where(table.c.channel == bindparam("recipient")).order_by(table.c.next_at)
_WHO = select(table.c.channel).where(UNTOLD, table.c.next_at <= bindparam("now")).distinct().order_by(table.c.channel)
_OF = select(table).where(table.c.event == bindparam("the_event")).order_by(table.c.channel)
_SAVE = (
    update(table)
    .where(table.c.event == bindparam("the_event"), table.c.channel == bindparam("the_channel"))
    .where(table.c.attempts == bindparam("seen"))
)


def add(tx: Connection, message: Mapping[str, Any], told: Sequence[Delivery]) -> bool:
    """Write a message and whom it is for; False, and nothing is written, when its event is known already."""
    texts = {name: kept(message[name]) for name in ("title", "body", "short", "alike")}
    if not insert_new(tx, messages, {**message, **texts, "payload": pack(message["payload"])}):
        return False
    for delivery in told:
        insert_new(tx, table, _row(delivery))
    return True


def lead_down(tx: Connection, delivery: Delivery) -> None:
    """Write a further recipient of a known message, or to which channel the message of this one went."""
    if not insert_new(tx, table, _row(delivery)):
        there = (table.c.event == delivery.event, table.c.channel == delivery.channel)
        tx.execute(update(table).where(*there).values(fallback=delivery.fallback))


def due_recipients(connection: Connection, now: float) -> tuple[str, ...]:
    """Who is to be told something now; also those to whom somebody began to send and never ended."""
    return tuple(connection.execute(_WHO, {"now": now}).scalars())


def due(connection: Connection, recipient: str, now: float, limit: int) -> tuple[Delivery, ...]:
    """What is to be tried now, the longest due first."""
    found = connection.execute(_DUE_TO.limit(limit), {"recipient": recipient, "now": now})
    return tuple(_delivery(row) for row in found.mappings())


def due_soon(connection: Connection, until: float) -> bool:
    """Whether anything is to be told before then."""
    gathered = select(table.c.event).where(GATHERED, table.c.next_at <= until).limit(1)
    found = connection.execute(_DUE.limit(1), {"now": until}).first() or connection.execute(gathered).first()
    return found is not None


def of(connection: Connection, event: str) -> tuple[Delivery, ...]:
    """Whom an event is told to, and how that stands."""
    return tuple(_delivery(row) for row in connection.execute(_OF, {"the_event": event}).mappings())


def to(connection: Connection, channel: str, events: Collection[str]) -> tuple[Delivery, ...]:
    """How it stands that this recipient is told these events."""
    query = select(table).where(table.c.event.in_(events), table.c.channel == channel)
    return tuple(_delivery(row) for row in connection.execute(query).mappings())


def message(connection: Connection, event: str) -> Mapping[str, Any]:
    """The columns of the message of an event."""
    row = connection.execute(select(messages).where(messages.c.event == event)).mappings().one()
    return {**row, "payload": unpack(row["payload"])}


def beside(connection: Connection, prefix: str, channel: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The events that begin so and are for this recipient, and what each says to programs."""
    # A range, and no pattern: the key is asked.
    begins = (table.c.event >= prefix, table.c.event < prefix + chr(0x10FFFF), table.c.channel == channel)
    query = select(messages.c.event, messages.c.payload).join(table, table.c.event == messages.c.event).where(*begins)
    return [(event, unpack(payload)) for event, payload in connection.execute(query)]


def last_number(connection: Connection, prefix: str) -> int:
    """The number of the last event that begins so, which has as many digits as the others; 0: there is none."""
    begins = (messages.c.event >= prefix, messages.c.event < prefix + chr(0x10FFFF))
    last = str(connection.execute(select(func.max(messages.c.event)).where(*begins)).scalar() or "").removeprefix(
        prefix
    )
    return int(last) if last.isdecimal() else 0


def naming(connection: Connection, prefix: str, word: str, since: float, limit: int) -> list[Mapping[str, Any]]:
    """The messages whose events begin so and that name the word to programs: event, created_at, title; newest first."""
    begins = (messages.c.event >= prefix, messages.c.event < prefix + chr(0x10FFFF), messages.c.created_at >= since)
    query = select(messages.c.event, messages.c.created_at, messages.c.title).where(*begins)
    named = query.where(
        or_(messages.c.payload.contains(word, autoescape=True), messages.c.event.contains(word, autoescape=True))
    )
    return [*connection.execute(named.order_by(messages.c.created_at.desc()).limit(limit)).mappings()]


def save(tx: Connection, delivery: Delivery, *, seen: int) -> bool:
    """Write how a delivery stands; False when somebody else tried it since it was seen with so many attempts."""
    values = {name: getattr(delivery, name) for name in _COLUMNS if name not in {"event", "channel"}}
    return tx.execute(_SAVE.values(values), _key(delivery, seen)).rowcount == 1


def mend_clock(tx: Connection, now: float, far: float) -> int:
    """Have told what waits for a future that cannot be: what was written, or tried, after now; returns how many."""
    written = exists().where(messages.c.event == table.c.event, messages.c.created_at > now + far)
    late = (table.c.status.in_(WAITING), table.c.next_at > now + far, or_(written, table.c.at > now + far))
    return tx.execute(update(table).where(*late).values(next_at=now)).rowcount


def stretch(tx: Connection, delivery: Delivery, until: float) -> None:
    """Keep a try that is still being made for ourselves until then."""
    tx.execute(_SAVE.where(table.c.status == "sending").values(next_at=until), _key(delivery, delivery.attempts))


def summary_due(connection: Connection, channel: str) -> float | None:
    """When the summary is to be told that is being gathered for this recipient; None: none is."""
    found = [
        connection.execute(select(func.min(other.c.next_at)).where(_gathering(other), other.c.channel == channel))
        for other in (table, deliveries)
    ]
    times = [at for one in found if (at := one.scalar_one()) is not None]
    return min(times, default=None)


def summaries_due(connection: Connection, now: float) -> tuple[str, ...]:
    """The recipients whose summary is to be told now."""
    found = (
        connection.execute(select(other.c.channel).where(_gathering(other), other.c.next_at <= now)).scalars()
        for other in (table, deliveries)
    )
    return tuple(sorted({channel for one in found for channel in one}))


def gathered(connection: Connection, channel: str = "", *, summary: str = "") -> tuple[Delivery, ...]:
    """What waits to be told in the next summary to this recipient, or is told in this one; the oldest first."""
    rows: list[Delivery] = []
    for other in (table, deliveries):
        query = select(other).where(GATHERED, other.c.summary == summary)
        query = query if summary else query.where(other.c.channel == channel)
        rows += [_delivery(row) for row in connection.execute(query).mappings()]
    return tuple(sorted(rows, key=lambda row: (row.next_at, row.operation_id, row.event)))


def put_back(tx: Connection, delivery: Delivery) -> None:
    """Write how something stands that was gathered, of an operation or not, unless somebody changed it meanwhile."""
    values = {name: getattr(delivery, name) for name in _COLUMNS if name not in {"event", "channel"}}
    other = deliveries if delivery.operation_id else table
    change = update(other).where(GATHERED, other.c.event == delivery.event, other.c.channel == delivery.channel)
    if delivery.operation_id:
        change = change.where(deliveries.c.operation_id == delivery.operation_id)
    tx.execute(change.values(values))


def stand_in(tx: Connection, delivery: Delivery) -> None:
    """Write that a summary came to somebody in place of another; who is told of it otherwise stays as it is."""
    other = deliveries if delivery.operation_id else table
    values = _row(delivery) if other is table else {**_row(delivery), "operation_id": delivery.operation_id}
    if insert_new(tx, other, values) or delivery.status == "dead":
        return
    change = update(other).where(other.c.event == delivery.event, other.c.channel == delivery.channel)
    if delivery.operation_id:
        change = change.where(deliveries.c.operation_id == delivery.operation_id)
    tx.execute(change.where(other.c.status == "dead").values(values))


def newest(connection: Connection, limit: int, *, every: bool) -> tuple[Delivery, ...]:
    """What waits or was given up, or every delivery, the newest message first."""
    return tuple(delivery for delivery, _, _ in titled(connection, limit, every=every))


def titled(connection: Connection, limit: int, *, every: bool) -> tuple[tuple[Delivery, str, float], ...]:
    """The same, with the title of each message and when it was written down."""
    query = select(table, messages.c.title, messages.c.created_at).join(messages, messages.c.event == table.c.event)
    query = query if every else query.where(table.c.status.in_((*WAITING, "dead")))
    rows = connection.execute(query.order_by(messages.c.created_at.desc(), table.c.channel).limit(limit)).mappings()
    return tuple((_delivery(row), row["title"], row["created_at"]) for row in rows)


def revive(tx: Connection, event: str, now: float) -> list[str]:
    """Have what was given up of this event tried again, from the beginning; returns for whom."""
    dead = (table.c.event == event, table.c.status == "dead")
    found = list(tx.execute(select(table.c.channel).where(*dead).order_by(table.c.channel)).scalars())

    tx.execute(update(table).where(*dead).values(status="queued", attempts=0, next_at=now))
    for other in (table, deliveries) if found else ():  # a summary's parts are again what becomes of it
        parts = (other.c.summary == event, other.c.channel.in_(found), other.c.status == "dead")
        tx.execute(update(other).where(*parts).values(status="summary", next_at=now))
    return found


def prune(tx: Connection, before: float, limit: int = 500) -> int:
    """Forget at most `limit` messages of before then that nobody is to be told of any more; returns how many."""
    waiting = exists().where(and_(table.c.event == messages.c.event, table.c.status.in_(WAITING)))
    old = select(messages.c.event).where(messages.c.created_at < before, ~waiting).limit(limit)
    events = list(tx.execute(old).scalars())
    tx.execute(delete(table).where(table.c.event.in_(events)))
    tx.execute(delete(messages).where(messages.c.event.in_(events)))
    return len(events)


def _gathering(of: Table) -> ColumnElement[bool]:
    return and_(GATHERED, of.c.summary == "")


def _key(delivery: Delivery, seen: int) -> dict[str, Any]:
    return {"the_event": delivery.event, "the_channel": delivery.channel, "seen": seen}


def _row(delivery: Delivery) -> dict[str, Any]:
    return {name: getattr(delivery, name) for name in _COLUMNS}


def _delivery(row: Mapping[Any, Any]) -> Delivery:
    return Delivery(operation_id=row.get("operation_id", ""), **{name: row[name] for name in _COLUMNS})

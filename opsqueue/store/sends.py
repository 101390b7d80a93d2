"""What was sent to whom and when: for limits, for summaries, and to tell nobody the same twice."""

from __future__ import annotations

from itertools import takewhile

from sqlalchemy import Connection, delete, func, select, text, update

from opsqueue.store.gently import put
from opsqueue.store.schema import sends as table

_NEWEST = 50
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext(:channel))")


def lock(tx: Connection, channel: str) -> None:
    """Be the only one who counts this channel, until the transaction ends; on SQLite who writes is alone anyway."""
    if tx.dialect.name != "sqlite":
        tx.execute(_LOCK, {"channel": f"opsqueue.sends.{channel}"})


def note(tx: Connection, channel: str, event: str, *, at: float, content: str) -> None:
    """Write that this is being sent now; the same event again only moves its time."""
    put(tx, table, {"channel": channel, "event": event, "at": at, "content": content, "accepted": False})


def accepted(tx: Connection, channel: str, event: str, *, at: float) -> None:
    """Write that it was taken."""
    tx.execute(update(table).where(table.c.channel == channel, table.c.event == event).values(accepted=True, at=at))


def since(connection: Connection, channel: str, at: float, *, until: float, besides: str) -> tuple[float, ...]:
    """When other events were last sent there since then and not after `until`, in order."""
    query = select(table.c.at).where(table.c.channel == channel, table.c.at > at, table.c.at <= until)
    return tuple(connection.execute(query.where(table.c.event != besides).order_by(table.c.at)).scalars())


def same(
    connection: Connection, channel: str, content: str, at: float, *, until: float, besides: str
) -> tuple[str, float] | None:
    """Another event with this content that was accepted there since then and not after `until`, and when."""
    row = connection.execute(
        select(table.c.event, table.c.at)
        .where(table.c.channel == channel, table.c.at > at, table.c.at <= until, table.c.event != besides)
        .where(table.c.accepted, table.c.content == content)
        .order_by(table.c.at.desc())
        .limit(1)
    ).first()
    return (row[0], row[1]) if row else None


def untaken(connection: Connection, channel: str, *, after: float, until: float, besides: str) -> dict[str, float]:
    """The newest tries there to tell other events that began since the last one that was accepted, and when each did.

    Only those that began after `after` and not later than `until`, UNIX seconds.
    """
    query = select(table.c.event, table.c.at, table.c.accepted)
    query = query.where(table.c.channel == channel, table.c.at > after, table.c.at <= until, table.c.event != besides)
    newest = connection.execute(query.order_by(table.c.at.desc()).limit(_NEWEST))
    return {event: at for event, at, _ in takewhile(lambda row: not row.accepted, newest)}


def last_accepted(connection: Connection, channel: str) -> float:
    """When anything was last accepted there; 0: never, as far as is known."""
    query = select(func.max(table.c.at)).where(table.c.channel == channel, table.c.accepted)
    return float(connection.execute(query).scalar_one() or 0.0)


def prune(tx: Connection, before: float, limit: int = 5_000) -> int:
    """Forget at most `limit` of what was sent before then, but for the last that each channel accepted.

    Returns how many.
    """
    gone = 0
    for channel in tx.execute(select(table.c.channel).distinct()).scalars().all():
        newest = last_accepted(tx, channel)
        mine = (table.c.channel == channel, table.c.at < before, ~(table.c.accepted & (table.c.at == newest)))
        old = select(table.c.event).where(*mine).limit(limit - gone)
        gone += tx.execute(delete(table).where(table.c.channel == channel, table.c.event.in_(old))).rowcount
        if gone >= limit:
            break
    return gone

"""Questions that people ask of the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, or_, select

from opsqueue.errors import InvalidRequest
from opsqueue.model.instant import utc_text
from opsqueue.model.names import Outcome, Stage
from opsqueue.model.record import Operation, Target
from opsqueue.store.rows import operation_of, pack, unpack
from opsqueue.store.schema import OPEN, deliveries, events, targets
from opsqueue.store.schema import operations as table

_FURTHER = 10
"""So many times more operations of a name are looked through for those with the same parameters."""
_FAR_BACK = 200
"""How many of a host's last targets are looked through; so that a long history costs no more than a short one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which ended operations; times in UNIX seconds, None: any."""

    type: str | None = None
    system: str | tuple[str, ...] | None = None
    """A host, or one of several."""
    status: Outcome | None = None
    since: float | None = None
    until: float | None = None
    requested_by: str | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        """InvalidRequest where it ends before it begins: nothing could ever fit, which looks as if nothing was done."""
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InvalidRequest(
                f"since must be earlier than until; found since {utc_text(self.since)} and until {utc_text(self.until)}"
            )

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of `system`; none: any."""
        return (self.system,) if isinstance(self.system, str) else self.system or ()


def ended(connection: Connection, wanted: Wanted) -> list[Operation]:
    """Closed operations that fit, newest first."""
    query = select(table).where(table.c.stage == Stage.CLOSED)
    query = _narrowed(query, wanted).order_by(table.c.created_at.desc()).limit(wanted.limit)
    return [operation_of(row) for row in connection.execute(query).mappings()]


def ever(connection: Connection, *, type: str = "", host: str = "") -> bool:  # noqa: A002 - the word of the contract
    """Whether any operation, open or ended, is of this type or was for this host."""
    queries = (
        select(table.c.id).where(table.c.type == type),
        select(targets.c.operation_id).where(targets.c.host == host),
    )
    wanted = [query for query, word in zip(queries, (type, host), strict=True) if word]
    return all(connection.execute(query.limit(1)).first() is not None for query in wanted)


def _narrowed(query: Select[tuple[object, ...]], wanted: Wanted) -> Select[tuple[object, ...]]:
    equal = {
        table.c.type: wanted.type,
        table.c.outcome: wanted.status,
        table.c.requested_by: wanted.requested_by,
    }
    for column, value in equal.items():
        if value is not None:
            query = query.where(column == value)
    if wanted.hosts:
        query = query.where(table.c.id.in_(select(targets.c.operation_id).where(targets.c.host.in_(wanted.hosts))))
    if wanted.since is not None:
        query = query.where(table.c.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(table.c.created_at < wanted.until)
    return query


def active(connection: Connection, limit: int = 500) -> list[Operation]:
    """Open operations, the most urgent first."""
    query = select(table).where(OPEN).order_by(table.c.rank, table.c.created_at).limit(limit)
    return [operation_of(row) for row in connection.execute(query).mappings()]


def prune(tx: Connection, before: float, limit: int = 500) -> int:
    """Forget at most `limit` closed operations that ended before then, with all that hangs on them.

    The newest of each schedule is kept: without it, its slot would look missed, and be submitted again.
    """
    newer = table.alias("newer")
    followed = exists().where(newer.c.schedule == table.c.schedule, newer.c.slot > table.c.slot)
    old = (
        select(table.c.id)
        .where(table.c.stage == Stage.CLOSED, table.c.finished_at < before)
        .where(table.c.created_at < before)  # follows, and has an index
        .where(or_(table.c.schedule.is_(None), followed))
        .limit(limit)
    )
    ids = list(tx.execute(old).scalars())
    for other, column in (
        (events, events.c.operation_id),
        (targets, targets.c.operation_id),
        (deliveries, deliveries.c.operation_id),
    ):
        tx.execute(delete(other).where(column.in_(ids)))
    tx.execute(delete(table).where(table.c.id.in_(ids)))
    return len(ids)


def durations(connection: Connection, operation: Operation, limit: int = 20) -> list[float]:
    """Seconds that the slowest target took in the last operations of this name and type with the same parameters.

    A backup and a look at statistics may have one name, and are no measure for each other.
    """
    near = (
        select(table.c.id, table.c.parameters, table.c.created_at)
        .where(table.c.name == operation.name, table.c.type == operation.type, table.c.id != operation.id)
        .order_by(table.c.created_at.desc())
        .limit(limit * _FURTHER)
        .subquery()
    )
    last = (
        select(near.c.id)
        .where(near.c.parameters == pack(operation.parameters))
        .order_by(near.c.created_at.desc())
        .limit(limit)
        .subquery()
    )
    seconds = func.max(targets.c.finished_at - targets.c.started_at)
    query = select(seconds).join(last, last.c.id == targets.c.operation_id).group_by(targets.c.operation_id)
    return [float(value) for value in connection.execute(query).scalars() if value is not None]


def held_by_worker(connection: Connection, prefix: str, now: float) -> int:
    """How many operations the processes of one worker work on now."""
    query = select(func.count()).where(table.c.holder.startswith(prefix, autoescape=True), table.c.due_at > now, OPEN)
    return int(connection.execute(query).scalar_one())


def due_soon(connection: Connection, until: float) -> bool:
    """Whether any open operation is to be looked at before then."""
    query = select(table.c.id).where(OPEN, table.c.due_at <= until).limit(1)
    return connection.execute(query).first() is not None


def alike_before(connection: Connection, operation: Operation, target: Target) -> str | None:
    """The last operation of this type with the same parameters that was carried out on a host; None: none lately."""
    before = operation.created_at if target.started_at is None else target.started_at
    near = (
        select(targets.c.operation_id)
        .where(targets.c.host == target.host, targets.c.started_at < before, targets.c.verified_at.is_not(None))
        .order_by(targets.c.started_at.desc())
        .limit(_FAR_BACK)
        .subquery()
    )
    last = (
        select(table.c.id)
        .join(near, near.c.operation_id == table.c.id)
        .where(table.c.type == operation.type, table.c.parameters == pack(operation.parameters))
        .where(table.c.created_at < operation.created_at, table.c.stage == Stage.CLOSED)
        .order_by(table.c.created_at.desc())
        .limit(1)
    )
    return connection.execute(last).scalar_one_or_none()


def findings_of(connection: Connection, operation_id: str) -> Mapping[str, tuple[Mapping[str, Any], ...]]:
    """What an operation found, by host; a host without findings is left out."""
    by_host: dict[str, list[Mapping[str, Any]]] = {}
    found = connection.execute(select(table.c.findings).where(table.c.id == operation_id)).scalar_one_or_none()
    for one in unpack(found) if found else ():
        by_host.setdefault(one["host"], []).append(one)
    return {host: tuple(theirs) for host, theirs in by_host.items()}

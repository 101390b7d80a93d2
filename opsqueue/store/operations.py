"""Operations in the record: created once, leased, saved by whoever shows the token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from opsqueue.errors import Conflict, LeaseLost, NotFound
from opsqueue.model.names import Outcome, Stage
from opsqueue.model.record import Operation
from opsqueue.store.rows import MUTABLE, changes_of, operation_of, operation_row
from opsqueue.store.schema import OPEN
from opsqueue.store.schema import operations as table

# The hot statements are built once: building one costs as much as running it.
_INSERT = insert(table)
_BY_ID = select(table).where(table.c.id == bindparam("the_id"))
_OURS = (
    (table.c.id == bindparam("the_id"))
    & (table.c.stage == bindparam("was"))
    & (table.c.token == bindparam("the_token"))
)
_TAKE = (
    update(table)
    .where(
        table.c.id == bindparam("the_id"),
        table.c.stage == bindparam("was"),
        table.c.due_at <= bindparam("now"),
    )
    .values(
        token=table.c.token + 1,
        due_at=bindparam("until"),
        # A holder that is still there let its lease lapse: a try that came to nothing, and is counted.
        attempts=table.c.attempts + case((table.c.holder != "", 1), else_=0),
        holder=bindparam("who"),
    )
    .returning(table)
)
# Not one that was given back: a late heartbeat must not put off when somebody is to look next.
_RENEW = update(table).where(_OURS, table.c.holder != "").values(due_at=bindparam("until"))
_SAVE = (
    update(table)
    .where(_OURS)
    .values({name: bindparam(f"new_{name}") for name in MUTABLE} | {"nudged_at": bindparam("now")})
    .returning(table.c.cancel_asked)
)


def _resting_query(condition: ColumnElement[bool]) -> Select[Any]:
    return select(table).where(OPEN, table.c.holder == "", condition).order_by(table.c.rank, table.c.created_at)


_WAITING_FOR_ROOM = (
    _resting_query(or_(table.c.hold.contains('"concurrency"'), table.c.hold.contains('"host_lock"')))
    .where(table.c.stage == Stage.WINDOW)
    .with_only_columns(table.c.id)
    .limit(bindparam("the_limit"))
)


def create(tx: Connection, operation: Operation, request_digest: str) -> bool:
    """Write a new operation; False when the same request is there already.

    Raises Conflict when the id (or the slot of the schedule) belongs to another request.
    """
    try:
        with tx.begin_nested():
            row = {
                **operation_row(operation),
                "request_digest": request_digest,
                "nudged_at": operation.created_at,
            }
            tx.execute(_INSERT, row)
    except IntegrityError:
        return _same(tx, operation, request_digest)
    return True


def _same(tx: Connection, operation: Operation, request_digest: str) -> bool:
    found = tx.execute(select(table.c.request_digest).where(table.c.id == operation.id)).scalar()
    if found is None:  # so it was the slot: another Beat's operation has it
        return False
    if found != request_digest:
        raise Conflict(
            f"the id {operation.id} belongs to another request. Ask again with an id of its own, "
            f"or look at the one that is there with `opsqueue show {operation.id}`."
        )
    return False


def get(connection: Connection, operation_id: str) -> Operation:
    """The operation with this id; NotFound otherwise."""
    row = connection.execute(_BY_ID, {"the_id": operation_id}).mappings().first()
    if row is None:
        raise NotFound(f"there is no operation {operation_id!r}; `opsqueue history` lists those that ended")
    return operation_of(row)


class Standing(NamedTuple):
    """How an operation stands, in few words."""

    stage: Stage
    outcome: Outcome | None
    cancel_asked: str


def standing(connection: Connection, ids: Sequence[str]) -> dict[str, Standing]:
    """How each of these stands; those that are not there are left out."""
    query = select(table.c.id, table.c.stage, table.c.outcome, table.c.cancel_asked).where(table.c.id.in_(ids))
    return {
        one: Standing(Stage(stage), Outcome(outcome) if outcome else None, cancelled)
        for one, stage, outcome, cancelled in connection.execute(query)
    }


def resolve(connection: Connection, prefix: str) -> str:
    """The one id that begins with `prefix` (4 characters or more); NotFound, or Conflict when several do."""
    if len(prefix) < _LEAST_PREFIX:
        raise NotFound(f"{prefix!r} is too short for an id; write at least its first {_LEAST_PREFIX} characters")
    found = connection.execute(
        select(table.c.id).where(table.c.id.startswith(prefix.lower(), autoescape=True)).limit(3)
    ).scalars()
    ids = list(found)
    if len(ids) == 1:
        return str(ids[0])
    if ids:
        raise Conflict(f"several operations begin with {prefix}: {', '.join(ids)}. Write more of the id.")
    raise NotFound(f"there is no operation {prefix!r}; `opsqueue history` and `opsqueue status` list them")


_LEAST_PREFIX = 4


def take(tx: Connection, operation_id: str, stage: Stage, *, now: float, until: float, holder: str) -> Operation | None:
    """Lease the operation if it rests at this stage and is due; None when it is not ours to work on."""
    row = (
        tx.execute(_TAKE, {"the_id": operation_id, "was": stage, "now": now, "until": until, "who": holder})
        .mappings()
        .first()
    )
    return operation_of(row) if row else None


def renew(tx: Connection, operation: Operation, until: float) -> None:
    """Stretch our lease; LeaseLost when it is ours no more."""
    done = tx.execute(
        _RENEW,
        {"the_id": operation.id, "was": operation.stage, "the_token": operation.token, "until": until},
    )
    _ours(done.rowcount, operation)


def save(tx: Connection, operation: Operation, was: Stage, nudged_at: float) -> str:
    """Write what the lease holder may change; LeaseLost, and nothing written, when somebody else has it.

    Returns who asked to cancel it, as it stands now: that may have come since the lease was taken.
    `nudged_at` is now when a message for the next stage is on its way, 0 when the reconciler has to send one.
    """
    done = tx.execute(
        _SAVE,
        {
            **changes_of(operation),
            "the_id": operation.id,
            "was": was,
            "the_token": operation.token,
            "now": nudged_at,
        },
    ).scalars()
    found = list(done)
    _ours(len(found), operation)
    return str(found[0])


def _ours(rows: int, operation: Operation) -> None:
    if rows != 1:
        raise LeaseLost(f"operation {operation.id} was taken over by another worker (token {operation.token})")


def due(
    connection: Connection, *, now: float, nudged_before: float, lost_before: float, busy: Sequence[str], limit: int
) -> list[Operation]:
    """Open operations that somebody should look at, and whose nudge is not on its way; the most urgent first.

    Last nudged before `nudged_before`: unless the queue of its priority is among the `busy`, where the message may
    still wait. Last nudged before `lost_before`: in any case. (0 stands for: not since it is due.)
    """
    lost = table.c.nudged_at <= lost_before
    taken_away = (table.c.nudged_at <= nudged_before) & table.c.priority.not_in(busy)
    rows = connection.execute(
        select(table)
        .where(OPEN, table.c.due_at <= now, lost | taken_away)
        .order_by(table.c.rank, table.c.created_at)
        .limit(limit)
    ).mappings()
    return [operation_of(row) for row in rows]


def mend_clock(tx: Connection, *, now: float, far: float, until: float) -> int:
    """Bring back what is due in a future that cannot be: leases, retries and moves are never `far` off.

    The clock was set back since they were written. What a gate holds is left alone. Returns how many.
    """
    too_late = update(table).where(OPEN, table.c.due_at > now + far, (table.c.holder != "") | (table.c.hold == "[]"))
    return tx.execute(too_late.values(due_at=until)).rowcount


def nudged(tx: Connection, ids: Sequence[str], now: float) -> None:
    """Remember that messages for these were just sent."""
    tx.execute(update(table).where(table.c.id.in_(ids)).values(nudged_at=now))


def waiting_for_room(connection: Connection, limit: int) -> list[str]:
    """The ids of operations that wait at the window for a slot or a host; the first to be served first."""
    return [str(row[0]) for row in connection.execute(_WAITING_FOR_ROOM, {"the_limit": limit})]


def held_by(connection: Connection, gate: str, limit: int = 1000) -> list[Operation]:
    """Operations that this gate holds, at whatever stage."""
    return _resting(connection, table.c.hold.contains(f'"{gate}"'), limit)


def _resting(connection: Connection, condition: ColumnElement[bool], limit: int) -> list[Operation]:
    rows = connection.execute(_resting_query(condition).limit(limit)).mappings()
    return [operation_of(row) for row in rows]


def wake(tx: Connection, ids: Sequence[str], now: float) -> None:
    """Make operations that nobody works on due now."""
    tx.execute(update(table).where(table.c.id.in_(ids), table.c.holder == "", OPEN).values(due_at=now))


def ask_cancel(tx: Connection, operation: Operation, actor: str, now: float) -> None:
    """Note who wants it stopped; one that nobody works on is due at once, a leased one sees it before its next host."""
    tx.execute(
        update(table)
        .where(table.c.id == operation.id, OPEN)
        .values(cancel_asked=actor, due_at=case((table.c.holder == "", now), else_=table.c.due_at))
    )


def cancel_asked(connection: Connection, operation_id: str) -> str:
    """Who asked to cancel it; empty when nobody did."""
    return str(connection.execute(select(table.c.cancel_asked).where(table.c.id == operation_id)).scalar_one())


def reopen(tx: Connection, operation: Operation, stage: Stage, now: float) -> bool:
    """Put a resting operation back to a stage, due now (retry of a person); False when it moved meanwhile."""
    fresh = replace(operation, stage=stage, due_at=now, holder="", hold=(), attempts=0)
    values: dict[str, Any] = {name: getattr(fresh, name) for name in ("stage", "due_at", "holder", "attempts")}
    done = tx.execute(
        update(table)
        .where(table.c.id == operation.id, table.c.token == operation.token, table.c.holder == "")
        .values(**values, hold="[]", token=table.c.token + 1)
    )
    return done.rowcount == 1

"""Shards: targets of one stage that other workers take. One row is one lease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from opsqueue.errors import LeaseLost
from opsqueue.model.names import Stage
from opsqueue.model.record import Shard
from opsqueue.store.rows import pack, shard_of, shard_row
from opsqueue.store.schema import operations
from opsqueue.store.schema import shards as table


def of(connection: Connection, operation_id: str, stage: Stage) -> tuple[Shard, ...]:
    """The shards of this stage, in their order."""
    rows = connection.execute(
        select(table).where(table.c.operation_id == operation_id, table.c.stage == stage).order_by(table.c.number)
    ).mappings()
    return tuple(shard_of(row) for row in rows)


def add(tx: Connection, shards: Sequence[Shard]) -> None:
    """Write new shards."""
    tx.execute(insert(table), [shard_row(shard) for shard in shards])


def take(
    tx: Connection,
    operation_id: str,
    stage: Stage,
    number: int,
    *,
    now: float,
    until: float,
    holder: str,
    own_host: str = "",
) -> Shard | None:
    """Lease a shard that nobody works on; None when there is none, or it is done."""
    row = (
        tx.execute(
            update(table)
            .where(
                *_key(operation_id, stage, number), _meant_for(own_host), table.c.done.is_(False), table.c.until <= now
            )
            .values(token=table.c.token + 1, until=until, holder=holder)
            .returning(table)
        )
        .mappings()
        .first()
    )
    return shard_of(row) if row else None


def renew(tx: Connection, shard: Shard, until: float) -> None:
    """Stretch our lease; LeaseLost when it is ours no more."""
    done = tx.execute(update(table).where(*_ours(shard)).values(until=until))
    _check(done.rowcount, shard)


def close(tx: Connection, shard: Shard, said: Mapping[str, Any]) -> int:
    """Note that our shard is done, and what there is to say; returns how many of this stage are not done yet.

    LeaseLost when it is ours no more.
    """
    done = tx.execute(update(table).where(*_ours(shard)).values(done=True, said=pack(said)))
    _check(done.rowcount, shard)
    return left(tx, shard.operation_id, shard.stage)


def give_up(tx: Connection, shard: Shard, said: Mapping[str, Any]) -> bool:
    """Close a shard that nobody works on; False when somebody took it meanwhile."""
    mine = (*_key(shard.operation_id, shard.stage, shard.number), table.c.token == shard.token)
    done = tx.execute(update(table).where(*mine, table.c.done.is_(False)).values(done=True, said=pack(said)))
    return done.rowcount == 1


def left(connection: Connection, operation_id: str, stage: Stage) -> int:
    """How many shards of this stage are not done yet."""
    query = select(func.count()).where(
        table.c.operation_id == operation_id, table.c.stage == stage, table.c.done.is_(False)
    )
    return int(connection.execute(query).scalar_one())


def forget(tx: Connection, operation_id: str, stage: Stage) -> None:
    """Drop the shards of this stage: what they said was heard."""
    tx.execute(delete(table).where(table.c.operation_id == operation_id, table.c.stage == stage))


def lock_operation(tx: Connection, shard: Shard) -> None:
    """From here to the end of the transaction nobody else closes a shard of this operation, or lets it rest."""
    tx.execute(update(operations).where(operations.c.id == shard.operation_id).values(due_at=operations.c.due_at))


def wake_operation(tx: Connection, shard: Shard, now: float) -> None:
    """The last shard is done: somebody should look at the operation, unless somebody does."""
    ours = operations.c.id == shard.operation_id, operations.c.stage == shard.stage, operations.c.holder == ""
    tx.execute(update(operations).where(*ours).values(due_at=now))


def _meant_for(own_host: str) -> Any:
    """A late message may carry the number of what is another's shard by now."""
    return table.c.queue == f"host.{own_host}" if own_host else ~table.c.queue.startswith("host.", autoescape=True)


def _key(operation_id: str, stage: Stage, number: int) -> tuple[Any, ...]:
    return table.c.operation_id == operation_id, table.c.stage == stage, table.c.number == number


def _ours(shard: Shard) -> tuple[Any, ...]:
    key = _key(shard.operation_id, shard.stage, shard.number)
    return *key, table.c.token == shard.token, table.c.done.is_(False)


def _check(rows: int, shard: Shard) -> None:
    if rows != 1:
        raise LeaseLost(
            f"shard {shard.number} of operation {shard.operation_id} was taken over by another worker "
            f"(token {shard.token})"
        )

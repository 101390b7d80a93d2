"""What keeps operations apart: host locks, concurrency slots, freezes, short leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from opsqueue.model.record import Freeze
from opsqueue.store.gently import insert_new, put
from opsqueue.store.rows import freeze_of, pack
from opsqueue.store.schema import believed as table_of_clocks
from opsqueue.store.schema import freezes, leases, locks, slots

_LOCKS_OF = select(locks.c.host).where(locks.c.operation_id == bindparam("the_operation"))
_TAKEN = select(slots.c.number, slots.c.operation_id).where(slots.c.pool == bindparam("the_pool"))
_RUNNING = (
    select(slots.c.pool, func.count()).where(slots.c.operation_id != bindparam("the_operation")).group_by(slots.c.pool)
)
_FREE_SLOTS = delete(slots).where(slots.c.operation_id == bindparam("the_operation"))
_FREE_LOCKS = delete(locks).where(locks.c.operation_id == bindparam("the_operation"))


def lock_holders(connection: Connection, hosts: Sequence[str], besides: str) -> dict[str, str]:
    """Which other operation holds each of these hosts."""
    rows = connection.execute(
        select(locks.c.host, locks.c.operation_id).where(locks.c.host.in_(hosts), locks.c.operation_id != besides)
    )
    return {row[0]: row[1] for row in rows}


def running(connection: Connection, besides: str) -> dict[str, int]:
    """How many other operations hold a slot, by pool."""
    return {row[0]: row[1] for row in connection.execute(_RUNNING, {"the_operation": besides})}


def take(tx: Connection, operation_id: str, *, hosts: Sequence[str], limits: Mapping[str, int], now: float) -> bool:
    """Take a slot in each pool and the locks of all hosts, or nothing; the keys of the tables decide races."""
    slots_taken = all(_take_slot(tx, operation_id, pool, limit, now) for pool, limit in limits.items())
    if slots_taken and _take_locks(tx, operation_id, hosts, now):
        return True
    release(tx, operation_id)
    return False


def _take_slot(tx: Connection, operation_id: str, pool: str, limit: int, now: float) -> bool:
    while True:
        taken = {row[0]: row[1] for row in tx.execute(_TAKEN, {"the_pool": pool})}
        if operation_id in taken.values():
            return True
        free = next((number for number in range(1, limit + 1) if number not in taken), None)
        if free is None:
            return False
        row = {"pool": pool, "number": free, "operation_id": operation_id, "taken_at": now}
        if insert_new(tx, slots, row):
            return True
        # Somebody took this number between our look and our insert: look again, there is one fewer.


def _take_locks(tx: Connection, operation_id: str, hosts: Sequence[str], now: float) -> bool:
    if not hosts:
        return True
    held = set(tx.execute(_LOCKS_OF, {"the_operation": operation_id}).scalars())
    # In the order of names: two who want the same hosts then wait for each other in one direction only.
    wanted = sorted(set(hosts) - held)
    return all(insert_new(tx, locks, {"host": host, "operation_id": operation_id, "taken_at": now}) for host in wanted)


def locked(connection: Connection, operation_id: str) -> frozenset[str]:
    """The hosts that the operation has for itself."""
    return frozenset(connection.execute(_LOCKS_OF, {"the_operation": operation_id}).scalars())


def release(tx: Connection, operation_id: str) -> None:
    """Give back all that the operation holds."""
    tx.execute(_FREE_SLOTS, {"the_operation": operation_id})
    tx.execute(_FREE_LOCKS, {"the_operation": operation_id})


def held(connection: Connection, operation_id: str) -> bool:
    """Whether the operation holds a slot."""
    return (
        connection.execute(select(slots.c.number).where(slots.c.operation_id == operation_id).limit(1)).first()
        is not None
    )


def active_freezes(connection: Connection, now: float) -> tuple[Freeze, ...]:
    """Freezes that were not lifted and have not ended; some may begin later."""
    rows = connection.execute(
        select(freezes)
        .where(freezes.c.lifted_at.is_(None), or_(freezes.c.ends_at.is_(None), freezes.c.ends_at > now))
        .order_by(freezes.c.starts_at)
    ).mappings()
    return tuple(freeze_of(row) for row in rows)


def all_freezes(connection: Connection, limit: int = 200) -> tuple[Freeze, ...]:
    """Freezes, lifted and ended ones too, newest first."""
    rows = connection.execute(select(freezes).order_by(freezes.c.created_at.desc()).limit(limit)).mappings()
    return tuple(freeze_of(row) for row in rows)


def add_freeze(tx: Connection, freeze: Freeze) -> None:
    """Write a new freeze."""
    row = {name: getattr(freeze, name) for name in Freeze.__dataclass_fields__}
    tx.execute(insert(freezes), {**row, "scope": pack(freeze.scope)})


def lift_freeze(tx: Connection, freeze_id: str, *, actor: str, now: float) -> bool:
    """End a freeze now; False when there is none with this id that still stands."""
    done = tx.execute(
        update(freezes)
        .where(freezes.c.id == freeze_id, freezes.c.lifted_at.is_(None))
        .values(lifted_at=now, lifted_by=actor)
    )
    return done.rowcount == 1


def take_lease(tx: Connection, name: str, *, holder: str, now: float, until: float, far: float | None = None) -> bool:
    """Be the one who does `name` until then; True also when we are it already.

    A lease that ends after `far` was written before the clock was set back, and counts as lapsed.
    """
    over = leases.c.until <= now if far is None else or_(leases.c.until <= now, leases.c.until > far)
    done = tx.execute(
        update(leases)
        .where(leases.c.name == name, or_(leases.c.holder == holder, over))
        .values(holder=holder, until=until)
    )
    return done.rowcount == 1 or insert_new(tx, leases, {"name": name, "holder": holder, "until": until})


def lease_of(connection: Connection, name: str) -> tuple[str, float] | None:
    """Who does `name`, and until when."""
    row = connection.execute(select(leases.c.holder, leases.c.until).where(leases.c.name == name)).first()
    return (row[0], row[1]) if row else None


def give_lease_back(tx: Connection, name: str, *, holder: str) -> None:
    """Let the next one have `name` at once, if it is ours."""
    tx.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))


def believed(tx: Connection, name: str, now: float, most: float) -> float:
    """The time by which `name` may act: now, but no more than `most` seconds after the time that it last went by.

    So a clock that is years ahead for a while moves it on by that much, and no further.
    """
    before = tx.execute(select(table_of_clocks.c.at).where(table_of_clocks.c.name == name)).scalar()
    at = now if before is None else min(now, before + most)
    put(tx, table_of_clocks, {"name": name, "at": at})
    return float(at)


def drop_leases(tx: Connection, before: float) -> None:
    """Forget leases that lapsed long ago."""
    tx.execute(delete(leases).where(leases.c.until < before))

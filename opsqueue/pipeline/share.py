"""Targets that other workers take: those that have a worker of their own, and the many of a large operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opsqueue.model.names import Stage, TargetState
from opsqueue.model.record import Event, Operation, Shard, Target
from opsqueue.pipeline.lease import Lease
from opsqueue.pipeline.move import InTransaction, Move
from opsqueue.pipeline.world import World
from opsqueue.store import events, operations, shards
from opsqueue.store import targets as store_targets
from opsqueue.store.engine import Connection
from opsqueue.telemetry import counted

_NOBODY_CAME = 60.0
"""Seconds after which a host whose own worker takes nothing counts as not reached."""
_MOST_TRIES = 8
"""Workers that may die over one shard before a person must look."""
AWAY = "away"
"""What is said of a host that was not reached: the word, then why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """How the targets of a stage are divided."""

    here: tuple[Target, ...]
    """For this process."""
    waiting: bool
    """Whether other workers are still at theirs."""
    said: Mapping[str, Mapping[str, Any]]
    """By host: what they had to say."""
    elsewhere: frozenset[str] = frozenset()
    """The hosts that were handed to other workers."""


def share(world: World, operation: Operation, targets: Sequence[Target], *, everyone: Sequence[Target] = ()) -> Shared:
    """Hand out what others take, once; later calls tell whether they are done.

    `everyone`: the targets of the operation, to be written down where they are not yet.
    """
    if not _is_shared(world, operation, targets):
        return Shared(here=tuple(targets), waiting=False, said={})
    with world.store.read() as connection:
        given = shards.of(connection, operation.id, operation.stage)
    if not given:
        given = _hand_out(world, operation, targets, everyone)
    elsewhere = frozenset(host for shard in given for host in shard.hosts)
    here = tuple(target for target in targets if target.host not in elsewhere)
    given = tuple(_looked_after(world, operation, shard) for shard in given)
    said = {host: words for shard in given for host, words in shard.said.items()}
    waiting = any(not shard.done for shard in given)
    return Shared(here=here, waiting=waiting, said=said, elsewhere=elsewhere)


def handed_out(world: World, operation: Operation) -> frozenset[str]:
    """The hosts that other workers have at this stage, or had, if what they said was not heard yet."""
    if operation.token <= 1 and not any(host.connector == "worker" for host in world.inventory.values()):
        return frozenset()
    with world.store.read() as connection:
        given = shards.of(connection, operation.id, operation.stage)
    return frozenset(host for shard in given for host in shard.hosts)


def _is_shared(world: World, operation: Operation, targets: Sequence[Target]) -> bool:
    many = _in_shards(operation) and len(targets) > world.settings.worker.shard_size
    return many or operation.token > 1 or any(_has_own_worker(world, operation, target.host) for target in targets)


def _in_shards(operation: Operation) -> bool:
    return operation.looking and operation.stage is Stage.EXECUTE


def _hand_out(
    world: World, operation: Operation, targets: Sequence[Target], everyone: Sequence[Target]
) -> tuple[Shard, ...]:
    groups = _groups(world, operation, targets)
    now = world.now()
    made = tuple(
        Shard(operation_id=operation.id, stage=operation.stage, number=n, hosts=hosts, queue=queue, created_at=now)
        for n, (queue, hosts) in enumerate(groups)
    )
    if made:
        line = Event(
            operation_id=operation.id,
            at=now,
            kind="shared",
            stage=operation.stage,
            actor=operation.holder,
            message=f"{counted(sum(len(one.hosts) for one in made), 'host')} in {counted(len(made), 'shard')}",
        )
        with world.store.begin() as tx:
            Lease.of(world, operation).renew(tx)
            if everyone:
                store_targets.replace_all(tx, operation.id, everyone)
            shards.add(tx, made)
            events.append(tx, [line])
        for shard in made:
            world.dispatch_shard(operation, shard)
    return made


def _groups(world: World, operation: Operation, targets: Sequence[Target]) -> list[tuple[str, tuple[str, ...]]]:
    """Queue and hosts of each shard."""
    left = [target.host for target in targets if target.state is not TargetState.SKIPPED]
    own = [host for host in left if _has_own_worker(world, operation, host)]
    groups: list[tuple[str, tuple[str, ...]]] = [(f"host.{host}", (host,)) for host in own]
    size = world.settings.worker.shard_size
    others = [host for host in left if host not in set(own)]
    if _in_shards(operation) and len(others) > size:
        groups += [(operation.priority.value, tuple(others[n : n + size])) for n in range(0, len(others), size)]
    return groups


def _has_own_worker(world: World, operation: Operation, name: str) -> bool:
    host = world.inventory.get(name)
    return host is not None and host.connector == "worker" and not world.kind(operation.type).desk


def _looked_after(world: World, operation: Operation, shard: Shard) -> Shard:
    """A shard that nobody works on is nudged again, or given up."""
    now = world.now()
    if shard.done or shard.until > now or now - shard.created_at < 1.0:
        return shard
    if words := _hopeless(shard, now):
        with world.store.begin() as tx:
            Lease.of(world, operation).renew(tx)
            if shards.give_up(tx, shard, words):
                return next(one for one in shards.of(tx, operation.id, operation.stage) if one.number == shard.number)
    world.dispatch_shard(operation, shard)
    return shard


def _hopeless(shard: Shard, now: float) -> dict[str, Any]:
    if shard.token > _MOST_TRIES:
        why = f"{shard.token} workers died over it, or let its lease lapse"
    elif shard.token == 0 and shard.queue.startswith("host.") and now - shard.created_at > _NOBODY_CAME:
        name = shard.queue.removeprefix("host.")
        why = f"its own worker took nothing for {_NOBODY_CAME:.0f} s: start `opsqueue worker --host {name}` there"
    else:
        return {}
    return {host: {AWAY: why} for host in shard.hosts}


def rest(world: World, operation: Operation, saved: Sequence[Target]) -> InTransaction:
    """Let the operation rest until the last shard is done; what was done here is written down."""

    def decide(tx: Connection) -> Move:
        operations.renew(tx, operation, world.now() + world.settings.worker.lease_seconds)
        left, now = shards.left(tx, operation.id, operation.stage), world.now()
        return Move(
            operation=operation,
            to=operation.stage,
            result="shared",
            why=f"{counted(left, 'shard')} with other workers",
            due_at=now + world.settings.worker.lease_seconds if left else now,
            write=lambda tx: store_targets.save(tx, saved),
        )

    return decide


def done_with(move: Move) -> Move:
    """The same move, by which the shards of its stage are forgotten: what they said was heard."""
    operation = move.operation

    def write(tx: Connection) -> None:
        shards.forget(tx, operation.id, operation.stage)
        move.write(tx)

    return replace(move, write=write)


def not_reached(world: World, target: Target, said: Mapping[str, Any]) -> Target:
    """The target as unreachable, if that is what is said of it."""
    if AWAY not in said:
        return target
    away = replace(target, state=TargetState.UNREACHABLE, attempt=target.attempt + 1, finished_at=world.now())
    return replace(away, problems=(str(said[AWAY]),))

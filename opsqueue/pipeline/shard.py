"""Work one shard: the targets of an operation that were handed to this worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opsqueue.errors import HostNotTrusted, HostUnreachable, LeaseLost
from opsqueue.model.names import Stage, TargetState
from opsqueue.model.record import Operation, Shard, Target
from opsqueue.pipeline.dispatch import nudge
from opsqueue.pipeline.lease import Lease
from opsqueue.pipeline.look import Looking
from opsqueue.pipeline.seat import still_seated
from opsqueue.pipeline.target import HOST_READING
from opsqueue.pipeline.verify import surveyed
from opsqueue.pipeline.wave import PutOff, Wave
from opsqueue.pipeline.world import World
from opsqueue.store import operations, shards
from opsqueue.store import targets as store_targets

_log = logging.getLogger("opsqueue.pipeline")

Words = dict[str, dict[str, Any]]
"""What is said of each host beside what stands on its target."""
Targets = Sequence[Target]
Worked = tuple[Targets, Words]


def run_shard(world: World, operation_id: str, number: int) -> None:
    """Work the shard, if nobody else does; the last one that is done wakes the operation."""
    taken = _take(world, operation_id, number)
    if taken is None:
        return
    operation, shard = taken
    lease = Lease(world, lambda tx, until: shards.renew(tx, shard, until), world.now())
    try:
        with world.heart.beating(lambda: _renew(world, lease), world.settings.worker.lease_seconds / 3):
            left = _work(world, operation, shard, lease)
    except LeaseLost as lost:
        _log.warning("%s", lost.message, extra={"operation_id": operation_id})
        return
    if not left:
        nudge(world, operation_id)


def _take(world: World, operation_id: str, number: int) -> tuple[Operation, Shard] | None:
    now = world.now()
    until = now + world.settings.worker.lease_seconds
    with world.store.begin() as tx:
        if not still_seated(tx, world.own_host, world.seat, now=now, until=until):
            _log.error("FAILED: %s has another worker now; a shard of it was left alone", world.own_host)
            return None
        operation = operations.get(tx, operation_id)
        shard = shards.take(
            tx,
            operation_id,
            operation.stage,
            number,
            now=now,
            until=until,
            holder=world.worker,
            own_host=world.own_host,
        )
    return (operation, shard) if shard else None


def _renew(world: World, lease: Lease) -> None:
    with world.store.begin(lasting=False) as tx:
        lease.renew(tx)


def _work(world: World, operation: Operation, shard: Shard, lease: Lease) -> int:
    with world.store.read() as connection:
        everyone = store_targets.of(connection, operation.id)
    ours = [target for target in everyone if target.host in shard.hosts]
    found, said = _HOW[operation.stage](world, operation, lease, ours, everyone)
    with world.store.begin(lasting=not operation.looking) as tx:
        shards.lock_operation(tx, shard)
        store_targets.save(tx, found)
        left = shards.close(tx, shard, said)
        if not left:
            shards.wake_operation(tx, shard, world.now())
    return left


def _verify(world: World, operation: Operation, _lease: Lease, ours: Targets, _everyone: Targets) -> Worked:
    kind = world.kind(operation.type)
    surveys = [surveyed(world, operation, kind, world.inventory[target.host], target) for target in ours]
    said = {one.target.host: {"objections": list(one.objections)} for one in surveys}
    return [one.target for one in surveys], said


def _execute(world: World, operation: Operation, lease: Lease, ours: Targets, everyone: Targets) -> Worked:
    kind = world.kind(operation.type)
    unsettled = [target for target in ours if not target.state.settled]
    if operation.looking:
        looking = Looking(world, operation, kind, lease)
        looking.at(unsettled)
        return looking.unsaved, {}
    others = [target for target in everyone if target.state.settled]
    wave = Wave(world, operation, kind, lease, len(everyone), others)
    came = wave.run(unsettled) if unsettled else []
    ended = [_read_again(world, one) for one in came if isinstance(one, Target)]
    put_off = {target.host: one for target, one in zip(unsettled, came, strict=True) if isinstance(one, PutOff)}
    fresh = [one.target for one in put_off.values() if one.target is not None]
    return [*ended, *fresh], {host: one.as_json() for host, one in put_off.items()}


def _read_again(world: World, target: Target) -> Target:
    """How the host itself fares after the work: nobody else can ask it."""
    if target.state is TargetState.SKIPPED:
        return target
    try:
        reading = world.connect(world.inventory[target.host]).ask([HOST_READING])
    except (HostUnreachable, HostNotTrusted):
        return target
    return replace(target, after={**target.after, **reading})


_HOW: Mapping[Stage, Callable[[World, Operation, Lease, Targets, Targets], Worked]] = {
    Stage.VERIFY: _verify,
    Stage.EXECUTE: _execute,
}

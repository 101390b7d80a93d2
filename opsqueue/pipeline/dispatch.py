"""Who should look next: the one query that is dispatcher, scheduler of retries and reconciler in one."""

from __future__ import annotations

import logging

from opsqueue.errors import BrokerUnreachable
from opsqueue.pipeline.world import World
from opsqueue.store import holds, operations

_log = logging.getLogger("opsqueue.dispatch")
_BATCH = 200
_LEASE = 5.0
_WOKEN = 4


def reconcile(world: World) -> int:
    """Nudge every operation that is due and was not nudged lately, if it is our turn; returns how many."""
    now = world.now()
    with world.store.begin() as tx:
        if not holds.take_lease(tx, "reconciler", holder=world.worker, now=now, until=now + _LEASE):
            return 0
        nudged_before = now - world.settings.worker.renudge_seconds
        due = operations.due(tx, now=now, nudged_before=nudged_before, limit=_BATCH)
        operations.nudged(tx, [operation.id for operation in due], now)
    for operation in due:
        world.dispatch(operation)
    return len(due)


def wake_waiting(world: World) -> None:
    """A slot or a lock came free: let the first who wait for one look again at once."""
    with world.store.read() as connection:
        waiting = operations.waiting_for_room(connection, _WOKEN)
    if not waiting:
        return
    now = world.now()
    with world.store.begin() as tx:
        operations.wake(tx, waiting, now)
        operations.nudged(tx, waiting, now)
    for operation_id in waiting:
        nudge(world, operation_id)


def nudge(world: World, operation_id: str) -> None:
    """Send the chain for an operation as it stands; a broker that does not answer is the reconciler's matter."""
    with world.store.read() as connection:
        operation = operations.get(connection, operation_id)
    try:
        world.dispatch(operation)
    except BrokerUnreachable as error:
        _log.warning(
            "a nudge was not sent, the reconciler will: %s", error.message, extra={"operation_id": operation_id}
        )

"""Who should look next: the one query that is dispatcher, scheduler of retries and reconciler in one."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from opsqueue.errors import BrokerUnreachable
from opsqueue.pipeline.world import World
from opsqueue.store import deliveries, holds, operations
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.dispatch")
_BATCH = 200
_LEASE = 5.0
_FAR = 120.0
"""Seconds; no lease, retry or move is due later than this unless leases are longer themselves."""
_SURELY_LOST = 60.0
"""Seconds after which a message is taken for lost even if its queue is long."""
_WOKEN = 4


def reconcile(world: World, queued: Mapping[str, int] | None = None) -> int:
    """Nudge every operation that is due and has no nudge on its way, if it is our turn; returns how many.

    `queued` is how many messages wait in each queue: while one is not empty, what was sent to it may be in there.
    """
    now = world.now()
    renudge = world.settings.worker.renudge_seconds
    with world.store.begin(lasting=False) as tx:
        far = now + 2 * _LEASE
        if not holds.take_lease(tx, "reconciler", holder=world.worker, now=now, until=now + _LEASE, far=far):
            return 0
        _mend_clock(tx, now, world.settings.worker.lease_seconds)
        due = operations.due(
            tx,
            now=now,
            nudged_before=now - renudge,
            lost_before=now - max(_SURELY_LOST, renudge),
            busy=[queue for queue, length in (queued or {}).items() if length],
            limit=_BATCH,
        )
        operations.nudged(tx, [operation.id for operation in due], now)
    for operation in due:
        world.dispatch(operation)
    return len(due)


def _mend_clock(tx: Connection, now: float, lease: float) -> None:
    far = max(_FAR, 2 * lease)
    mended = operations.mend_clock(tx, now=now, far=far, until=now + lease)
    to_tell = deliveries.mend_clock(tx, now, far)
    operations.wake(tx, to_tell, now)
    if mended or to_tell:
        _log.warning("the clock was set back: %d operations were due in the far future", mended + len(to_tell))


def wake_waiting(world: World) -> None:
    """A slot or a lock came free: let the first who wait for one look again at once."""
    with world.store.read() as connection:
        waiting = operations.waiting_for_room(connection, _WOKEN)
    if not waiting:
        return
    now = world.now()
    with world.store.begin(lasting=False) as tx:
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

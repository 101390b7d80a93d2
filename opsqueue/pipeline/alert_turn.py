"""Whose turn it is to look at all alerts, and since when somebody looks without a break.

Both are one lease in the record: it says until when nobody else need look, and in whose name since when there was
always somebody. Whoever dies, in whatever way, leaves it as it is; who looks next sees how long nobody did.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from opsqueue.model.alert_rule import Route
from opsqueue.pipeline.world import World
from opsqueue.store import alert_parts, alerts, holds, tellings
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.alerts")
_NAME = "alerts"
_SINCE = " since "
_EVERY = 5.0
"""Seconds from one look to the next, in the whole cluster."""
_BREAK = 10.0
"""Seconds by which a look may come late, on a busy machine; one that is later ends a break."""
_FAR = 120.0
"""Seconds by which clocks of the cluster may differ."""


@contextmanager
def taken(world: World) -> Iterator[bool]:
    """Whether it is our turn, while the block looks."""
    began = world.now()
    holder = _take(world, began)
    yield holder is not None
    now = world.now()
    if holder is not None and now - began > _EVERY:  # that one look takes long is no break
        with world.store.begin(lasting=False) as tx:
            holds.take_lease(tx, _NAME, holder=holder, now=now, until=now)


def looked_since(connection: Connection) -> float:
    """Since when somebody looks without a break; 0 where the record does not know of any."""
    lease = holds.lease_of(connection, _NAME)
    return _written(lease[0]) if lease else 0.0


def _take(world: World, now: float) -> str | None:
    with world.store.read() as connection:  # asked each second by every worker, and a lease costs a write
        lease = holds.lease_of(connection, _NAME)
    far = now + 2 * _EVERY
    if lease is not None and now < lease[1] <= far:
        return None
    # A holder of its own for each turn: the same worker has to wait as well.
    holder = f"{world.worker}@{now}{_SINCE}{_since(lease, now)}"
    with world.store.begin(lasting=False) as tx:
        if not holds.take_lease(tx, _NAME, holder=holder, now=now, until=now + _EVERY, far=far):
            return None
        _mend_clock(tx, world, now)
    return holder


def _since(lease: tuple[str, float] | None, now: float) -> float:
    if lease is None or now - lease[1] > _BREAK:
        return now
    return min(now, _written(lease[0]))  # the clock may have been set back


def _written(holder: str) -> float:
    try:
        return float(holder.rpartition(_SINCE)[2])
    except ValueError:  # of a version that did not write it
        return 0.0


def _mend_clock(tx: Connection, world: World, now: float) -> None:
    """Bring back what lies in a future that cannot be: the clock was set back since it was written."""
    waits = [max(one.group_wait_s, one.group_interval_s) for one in (Route(), *world.settings.alerts.routes)]
    far = max(_FAR, 2 * max(waits))
    mended = (
        alerts.mend_clock(tx, now, _FAR) + alert_parts.mend_clock(tx, now, far) + tellings.mend_clock(tx, now, _FAR)
    )
    if mended:
        _log.warning("the clock was set back: %d alerts, groups and messages lay in the future", mended)

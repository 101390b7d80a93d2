"""Look at all alerts every few seconds, beside the reconciler: a thousand of them hold up no operation."""

from __future__ import annotations

import logging
import threading

from opsqueue.errors import OpsqueueError
from opsqueue.pipeline.alert_tick import tick
from opsqueue.pipeline.world import World

_log = logging.getLogger("opsqueue.alerts")
_PULSE = 1.0


def keep_looking(world: World, stopping: threading.Event) -> None:
    """Look, when it is our turn, until `stopping`; whatever goes wrong is logged, and the next turn comes."""
    while not stopping.wait(_PULSE):
        try:
            tick(world)
        except OpsqueueError as error:
            _log.warning("alerts will be looked at again: %s", error.message)
        except Exception:  # noqa: BLE001  # the last one who looks must not die of one bad turn
            _log.exception("ERROR in the look at alerts; it goes on")


def start_looking(world: World, stopping: threading.Event) -> threading.Thread:
    """The thread that does it, begun; it does not keep its process from ending."""
    thread = threading.Thread(target=keep_looking, args=(world, stopping), name="opsqueue-alerter", daemon=True)
    thread.start()
    return thread

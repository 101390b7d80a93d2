"""Send, every second, what is to be told and belongs to no operation.

Its own thread beside the reconciler: a mail server that does not answer must not hold up the dispatching of operations.
"""

from __future__ import annotations

import logging
import threading

from opsqueue.errors import OpsqueueError
from opsqueue.pipeline.telling import send_due
from opsqueue.pipeline.world import World

_log = logging.getLogger("opsqueue.teller")
_PULSE = 1.0


def keep_telling(world: World, stopping: threading.Event) -> None:
    """Turn until `stopping`; whatever goes wrong in one turn is logged, and the next turn comes."""
    while not stopping.wait(_PULSE):
        try:
            send_due(world)
        except OpsqueueError as error:
            _log.warning("the teller will try again: %s", error.message)
        except Exception:  # noqa: BLE001  # the last one who looks must not die of one bad turn
            _log.exception("ERROR in the teller; it goes on")


def start_telling(world: World, stopping: threading.Event) -> threading.Thread:
    """The thread that does it, begun; it does not keep its process from ending."""
    thread = threading.Thread(target=keep_telling, args=(world, stopping), name="opsqueue-teller", daemon=True)
    thread.start()
    return thread

"""Send, every second, what is to be told and belongs to no operation.

Each channel has some threads of its own, beside the reconciler: a mail server that does not answer holds up neither the
dispatching of operations nor what goes to other channels.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from opsqueue.errors import OpsqueueError
from opsqueue.pipeline.telling import due_recipients, tell_recipient
from opsqueue.pipeline.world import World

_log = logging.getLogger("opsqueue.teller")
_PULSE = 1.0
_OF_ONE_CHANNEL = 4
"""Recipients of one channel that are told side by side."""


class Teller:
    """The teller of one `opsqueue worker` or `opsqueue up`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pools: dict[str, ThreadPoolExecutor] = {}
        """By channel."""
        self._at_work: dict[str, Future[int]] = {}
        """By recipient."""

    def turn(self) -> None:
        """Begin to tell whoever is to be told and is not being told already."""
        self._at_work = {who: job for who, job in self._at_work.items() if not _ended(job)}
        for who in due_recipients(self._world):
            if who not in self._at_work:
                self._at_work[who] = self._pool(who.partition("#")[0]).submit(tell_recipient, self._world, who)

    def end(self) -> None:
        """Begin nothing more; what was begun ends."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _pool(self, channel: str) -> ThreadPoolExecutor:
        if channel not in self._pools:
            self._pools[channel] = ThreadPoolExecutor(_OF_ONE_CHANNEL, thread_name_prefix=f"telling-{channel}")
        return self._pools[channel]


def keep_telling(world: World, stopping: threading.Event) -> None:
    """Turn until `stopping`; whatever goes wrong in one turn is logged, and the next turn comes."""
    teller = Teller(world)
    while not stopping.wait(_PULSE):
        try:
            teller.turn()
        except OpsqueueError as error:
            _log.warning("the teller will try again: %s", error.message)
        except Exception:  # noqa: BLE001  # the last one who looks must not die of one bad turn
            _log.exception("ERROR in the teller; it goes on")
    teller.end()


def start_telling(world: World, stopping: threading.Event) -> threading.Thread:
    """The thread that does it, begun; it does not keep its process from ending."""
    thread = threading.Thread(target=keep_telling, args=(world, stopping), name="opsqueue-teller", daemon=True)
    thread.start()
    return thread


def _ended(job: Future[int]) -> bool:
    if not job.done():
        return False
    if not job.cancelled() and (error := job.exception()) is not None:
        _log.error("ERROR in the teller; it will try again: %s: %s", type(error).__name__, error)
    return True

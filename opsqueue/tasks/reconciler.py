"""Look for what is due, every second, and notice workers that have gone deaf.

A Redis restart can leave a Celery worker running that takes nothing any more. It is found by its work: messages
wait in its queues, it has processes to spare, and for a while takes none. It is killed, and its keeper starts another.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from redis.exceptions import RedisError

from opsqueue.embedded.keeper import Keeper, Status
from opsqueue.errors import OpsqueueError
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.deployments import step_all
from opsqueue.pipeline.dispatch import reconcile
from opsqueue.pipeline.upkeep import note_buried
from opsqueue.pipeline.world import World
from opsqueue.settings import Settings
from opsqueue.store import history, tellings
from opsqueue.tasks.alerter import start_looking
from opsqueue.tasks.broker import QUEUES, connect, queue_lengths
from opsqueue.tasks.client import Sender
from opsqueue.tasks.dead import dead_total
from opsqueue.tasks.stages import nudge, nudge_shard
from opsqueue.tasks.taken import forget_old, last_taken
from opsqueue.tasks.teller import start_telling
from opsqueue.tasks.voice import Outage

_log = logging.getLogger("opsqueue.reconciler")
_PULSE = 1.0
_IDLE_AFTER = 3.0
_SOON = 60.0
_BEGIN_AGAIN = 5.0
_STARTING = 60.0
"""Seconds that a worker may take to start, on a busy machine, before it counts as deaf."""


class Reconciler:
    """The reconciler of one `opsqueue worker` or `opsqueue up`."""

    def __init__(
        self,
        settings: Settings,
        keeper: Keeper,
        *,
        end: Callable[[], None] | None = None,
        queues: Sequence[str] | None = None,
        revive: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._revive = revive
        """Called when Redis does not answer; starts the embedded one again, if it has ended."""
        self._queues = queues or QUEUES
        """What the shared worker of this keeper takes."""
        self._keeper = keeper
        self._end = end
        """Called, perhaps more than once, when nothing is left to do; None: stay for ever."""
        self._stopping = threading.Event()
        self._deaf_since: dict[str, float] = {}
        self._taken: dict[str, float] = {}
        """When each worker last took a message, as seen at the last look."""
        self._idle_since: float | None = None
        self._buried = 0
        self._outage = Outage("the reconciler")

    def stop(self) -> None:
        """End the loop at its next turn."""
        self._stopping.set()

    def run(self) -> None:
        """Turn until stopped; whatever goes wrong in one turn is logged, and the next turn comes."""
        sender = Sender(self._settings)
        name = f"reconciler-{os.uname().nodename}-{os.getpid()}"
        world = self._world(sender, name)
        if world is None:
            return
        forget_old(self._settings)
        start_looking(world, self._stopping)
        if not any(queue.startswith("host.") for queue in self._queues):  # a host's own worker knows no mail server
            start_telling(world, self._stopping)
        while not self._stopping.wait(_PULSE):
            try:
                queued, buried = self._ask_redis()
                self._outage.over()
                if buried != self._buried:
                    note_buried(world, buried)
                    self._buried = buried
                reconcile(world, queued)
                step_all(world)
                self._listen(world, queued)
                self._perhaps_end(world, queued)
            except OpsqueueError as error:
                _log.warning("the reconciler will try again: %s", error.message)
            except RedisError as error:
                self._outage.lasts(str(error).rstrip("."))
                self._perhaps_revive()
            except Exception:  # noqa: BLE001  # the last one who looks must not die of one bad turn
                _log.exception("ERROR in the reconciler; it goes on")

    def _world(self, sender: Sender, name: str) -> World | None:
        """The world, tried until it can be put together; None when stopped before."""
        while not self._stopping.is_set():
            try:
                return assemble(
                    self._settings,
                    dispatch=partial(nudge, sender),
                    dispatch_shard=partial(nudge_shard, sender),
                    worker=name,
                )
            except OpsqueueError as error:
                _log.error("ERROR: the reconciler cannot begin yet: %s", error.message)
                self._stopping.wait(_BEGIN_AGAIN)
        return None

    def _perhaps_revive(self) -> None:
        if self._revive is None or self._stopping.is_set():
            return
        try:
            self._revive()
        except (OpsqueueError, OSError) as error:
            _log.error("FAILED to start Redis again: %s", error)

    def _listen(self, world: World, queued: dict[str, int]) -> None:
        now = time.monotonic()
        for child in self._keeper.status():
            if not self._is_deaf(world, child, queued):
                self._deaf_since.pop(child.name, None)
            elif self._for_long(child, now) and child.pid is not None:
                _log.error("FAILED: worker %s takes nothing any more; it is killed and started again", child.name)
                self._deaf_since.pop(child.name)
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)

    def _for_long(self, child: Status, now: float) -> bool:
        began = last_taken(self._settings, child.name) >= time.time() - child.up_seconds
        deaf = self._settings.worker.deaf_seconds
        most = deaf if began else max(deaf, _STARTING)
        return now - self._deaf_since.setdefault(child.name, now) > most

    def _took_something(self, name: str) -> bool:
        """Whether this worker took a message since it was last looked at."""
        taken = last_taken(self._settings, name)
        before, self._taken[name] = self._taken.get(name, 0.0), taken
        return taken != before

    def _is_deaf(self, world: World, child: Status, queued: dict[str, int]) -> bool:
        role = child.name.partition("-")[0]
        if child.state != "running" or role not in {"shared", "reserved", "host"} or self._took_something(child.name):
            return False
        processes = self._settings.worker.reserved if role == "reserved" else self._settings.worker.processes
        wanted = ("critical", "intake") if role == "reserved" else self._queues
        if not any(queued.get(queue, 0) for queue in wanted):
            return False
        with world.store.read() as connection:
            return history.held_by_worker(connection, f"{child.name}:", world.now()) < processes

    def _ask_redis(self) -> tuple[dict[str, int], int]:
        with connect(self._settings) as client:
            return queue_lengths(client, self._settings, self._queues), dead_total(client, self._settings.broker_prefix)

    def _perhaps_end(self, world: World, queued: dict[str, int]) -> None:
        if self._end is None:
            return
        if any(queued.values()) or _due_soon(world):
            self._idle_since = None
            return
        self._idle_since = self._idle_since or time.monotonic()
        if time.monotonic() - self._idle_since > _IDLE_AFTER:
            self._end()


def _due_soon(world: World) -> bool:
    with world.store.read() as connection:
        until = world.now() + _SOON
        return history.due_soon(connection, until) or tellings.due_soon(connection, until)

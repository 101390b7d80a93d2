"""Celery's consumer, made so that a message can only be run, or buried; and a lost connection ends no work.

Celery drops what waits for a pool process when the connection is lost, and lets the broker send it again; what had
just begun then runs twice. Here it stays with this process: it is run once, and acknowledged on the next connection.
"""

# mypy: disable-error-code=no-untyped-call
# Celery and kombu are untyped, and this module overrides them.
from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from celery.exceptions import CPendingDeprecationWarning
from celery.worker import consumer as stock
from kombu.utils.encoding import safe_repr

from opsqueue.tasks import transport
from opsqueue.tasks.fitness import UnfitError, check_task, require, tame
from opsqueue.tasks.taken import Taken

logger = logging.getLogger(__name__)


class Consumer(stock.Consumer):  # type: ignore[misc]  # Celery is untyped
    """Takes messages from Redis and hands them to the pool; named by the setting `worker_consumer`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        transport.install()
        self._held: dict[str, Any] = {}
        """Messages of lost connections that this process still works on, by delivery tag."""
        self._unpaid: set[str] = set()
        """Delivery tags whose acknowledgement could not be told to Redis."""
        self._lost = False
        """Whether the connection was lost, and `on_close` is about to be called for that."""
        super().__init__(*args, **kwargs)
        self._taken = Taken(self.app.conf.get("opsqueue_taken"))
        # A refusal of Redis (full, read-only, no permission) is waited out like its absence.
        self.connection_errors: tuple[type[Exception], ...] = (*self.connection_errors, *self.channel_errors)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is called with each message; never raises. Called once for each connection."""
        self._take_over()
        receive = super().create_task_handler(*args, **kwargs)
        self._taken.note()  # from here on it could take one

        def on_task_received(message: Any) -> None:
            self._taken.note()
            try:
                self._check(message)
                receive(message)
            except UnfitError as exc:
                self._bury(message, str(exc))
            except Exception as exc:  # noqa: BLE001 -- whatever a message causes, the worker goes on
                self._bury(message, f"{type(exc).__name__}: {exc}")

        return on_task_received

    def call_soon_ack(self, p: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Acknowledge now: what waits for the next turn of the event loop is forgotten when that ends."""
        p(*args, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying again every few seconds at most; Celery alone would come to wait half a minute."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_start=0.2, interval_step=0.4, interval_max=2)
        return super().ensure_connected(conn)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Try again, and leave alone what runs."""
        self._lost = True
        super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Keep what this process holds before the lost connection would put it back on its queue."""
        self._lost = True
        self._hold()
        with warnings.catch_warnings():  # Celery would have us end what runs; that we do not is the purpose
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """Clear up when the worker ends; on a lost connection leave everything that runs or waits alone."""
        lost, self._lost = self._lost, False
        engine: Any = getattr(self.pool, "_pool", None)
        if not hasattr(engine, "outbound_buffer"):  # a pool of threads, or none: it has no pipes to mind
            if not lost:
                super().on_close()
            return
        with jobs_kept(engine, waiting=lost):
            if lost:
                engine.flush()
            else:
                super().on_close()

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Bury a message whose body cannot be decoded."""
        self._bury(message, f"cannot be decoded: {type(exc).__name__}: {exc}")

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 -- Celery's signature
        """Bury what is no call of a task."""
        self._bury(message, "this is no call of a task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002 -- likewise
        """Bury a call of a task that this worker does not have."""
        self._bury(message, f"there is no task {exc}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002 -- likewise
        """Bury a call that Celery finds invalid."""
        self._bury(message, f"invalid call: {exc}")

    def _check(self, message: Any) -> None:
        require(not message.errors, "the body cannot be read")
        try:
            payload = message.decode()
        except Exception as exc:
            raise UnfitError(f"the body cannot be decoded: {type(exc).__name__}: {exc}") from exc
        check_task(message.headers, payload, self.strategies)
        tame(message.headers)
        if isinstance(payload, dict):  # protocol 1 has its headers in the body
            tame(payload)

    def _bury(self, message: Any, reason: str) -> None:
        channel, queue = message.channel, str(message.delivery_info.get("routing_key", ""))
        channel.bury(queue, reason, _as_it_came(message))
        if not message.acknowledged:
            message.reject()

    def _hold(self) -> None:
        channel = self.task_consumer.channel if self.task_consumer else None
        if channel is None:
            return
        # Closing reads what Redis may have handed out meanwhile; without consumers that goes back to its queue.
        with suppress(*self.connection_errors, AttributeError):
            self.task_consumer.cancel()
        self._unpaid |= channel.qos.unpaid
        channel.qos.unpaid.clear()
        self._held |= channel.qos.held()

    def _take_over(self) -> None:
        held = {tag: message for tag, message in self._held.items() if not message.acknowledged}
        if held or self._unpaid:
            logger.info("%d messages of the lost connection are still worked on", len(held))
            self.task_consumer.channel.qos.adopt(held, self._unpaid)
        self._held, self._unpaid = {}, set()


@contextmanager
def jobs_kept(pool: Any, *, waiting: bool) -> Iterator[None]:
    """Keep the jobs of Celery's process pool through its `flush`.

    The flush must run, or a process whose pipe was being written to never gets a job again; but it drops every job
    that has not begun, one that already lies in a pipe included: that one runs all the same, unacknowledged.
    `waiting` keeps the jobs that no process has been given either; at shutdown they go back to their queue.
    """
    jobs = {number: job for number, job in pool._cache.items() if waiting or job._write_to}  # noqa: SLF001 -- no public way
    outbound = list(pool.outbound_buffer) if waiting else []
    yield
    for number, job in jobs.items():
        if not job.ready():
            pool._cache.setdefault(number, job)  # noqa: SLF001 -- no public way
    pool.outbound_buffer.extend(outbound)


def _as_it_came(message: Any) -> str:
    try:
        return json.dumps(getattr(message, "_raw", None))
    except (TypeError, ValueError, RecursionError):
        return str(safe_repr(message.headers))

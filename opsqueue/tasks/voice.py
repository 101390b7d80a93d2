"""What Celery and its like say in a process, in our own form; and of a broker that is away, no more than is news."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

from celery import signals
from celery.utils.log import get_multiprocessing_logger
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from opsqueue import telemetry
from opsqueue.settings import Settings

_log = logging.getLogger("opsqueue.broker")
_AGAIN = 60.0
"""Seconds after which it is said again of a broker that is still away."""
_AWAY = (RedisError, OperationalError, ConnectionError, TimeoutError)
_CONNECTED = {"celery.worker.consumer.connection": "Connected to %s", "flower.events": "Capturing events..."}
"""By logger, what it says each time that the broker was reached; nobody else need hear of it."""


class Outage:
    """Says that the broker is away once, and again each minute; and that it is back."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._said_at: float | None = None

    def lasts(self, why: str) -> None:
        """It does not answer, now or still."""
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= _AGAIN:
            self._said_at = now
            _log.warning("%s waits for the broker (Redis), which does not answer: %s", self._who, why)

    def over(self) -> None:
        """It answers."""
        if self._said_at is not None:
            self._said_at = None
            _log.warning("%s: the broker (Redis) answers again", self._who)


class Voice(logging.StreamHandler):  # type: ignore[type-arg]  # of text, as stderr is
    """Takes what other people's libraries log: about the broker to `outage`, the rest to stderr in our form."""

    def __init__(self, outage: Outage) -> None:
        super().__init__(sys.stderr)
        self._outage = outage

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, unless it is no news."""
        if record.name.startswith("opsqueue."):
            return  # it has handlers of its own
        if record.levelno < logging.WARNING:
            if record.msg == _CONNECTED.get(record.name):
                self._outage.over()
        elif (why := next(_of_broker(record), None)) is not None:
            self._outage.lasts(str(why).rstrip("."))
        else:
            super().emit(record)


def _of_broker(record: logging.LogRecord) -> Iterator[BaseException]:
    """The errors of the broker that a line is about, also where Celery gives them another name."""
    given = record.args if isinstance(record.args, tuple) else ()
    for error in (*given, record.exc_info[1] if record.exc_info else None):
        seen = error if isinstance(error, BaseException) else None
        while seen is not None:
            if isinstance(seen, _AWAY):
                yield seen
            seen = seen.__cause__ or seen.__context__


def speak(settings: Settings, who: str) -> None:
    """From here on this process, called `who` to people, says what it has to say in our form."""
    outage = Outage(who)
    form = telemetry.formatter(settings.logging.format)
    voice, aloud = Voice(outage), logging.StreamHandler(sys.stderr)
    for handler in (voice, aloud):
        handler.setFormatter(form)
    _log.handlers = [aloud]
    for name in _CONNECTED:
        logging.getLogger(name).setLevel(logging.DEBUG)

    def set_up(**_more: Any) -> None:  # Celery leaves it to whoever takes this signal, in each process of its pool too
        root, pool = logging.getLogger(), get_multiprocessing_logger()
        root.handlers, pool.handlers = [voice], [voice]
        root.setLevel(logging.WARNING)
        pool.setLevel(logging.ERROR)

    def sent(**_more: Any) -> None:
        outage.over()

    set_up()
    signals.setup_logging.connect(set_up, weak=False)
    signals.after_task_publish.connect(sent, weak=False)

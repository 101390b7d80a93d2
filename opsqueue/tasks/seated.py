"""Be the one worker of a host for as long as it runs, and end when another one has taken its place."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from opsqueue.errors import Conflict, DatabaseUnreachable, LeaseLost
from opsqueue.pipeline.heart import Heart
from opsqueue.pipeline.seat import Seat
from opsqueue.settings import Settings
from opsqueue.store.engine import Store

_log = logging.getLogger("opsqueue.parts")
_BEGIN_AGAIN = 5.0


@contextmanager
def seated(settings: Settings, host: str, *, tell: Callable[[str], None]) -> Iterator[Seat]:
    """Hold the host's seat while the block runs, which is told to end (SIGTERM) when the seat is lost.

    Raises Conflict then, and when another one sits there from the beginning.
    """
    seat, seconds, lost = Seat(host), settings.worker.lease_seconds, list[Conflict]()
    with closing(Store(settings.database)) as store:
        _sit_down(seat, store, seconds, tell)

        def stretch() -> None:
            try:
                seat.stretch(store, seconds)
            except LeaseLost as error:
                _log.error("FAILED: %s", error.message)
                lost.append(Conflict(error.message, host=host))
                os.kill(os.getpid(), signal.SIGTERM)
                raise

        try:
            with Heart().beating(stretch, seconds / 3), _ends_in_peace(lost):
                yield seat
        finally:
            with suppress(DatabaseUnreachable):  # then it lapses
                seat.leave(store)
    if lost:
        raise lost[0]


@contextmanager
def _ends_in_peace(lost: list[Conflict]) -> Iterator[None]:
    """Leave the block at SIGTERM while nobody else answers it: before the keeper of children does, and after.

    By default it would end the process where it stands: with no word of why, and the seat would be left to lapse.
    """

    def leave(*_signal: object) -> None:
        if lost:
            raise lost[0]
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _sit_down(seat: Seat, store: Store, seconds: float, tell: Callable[[str], None]) -> None:
    """Wait for the record as a worker does, that may have been started before it."""
    while True:
        try:
            seat.take(store, seconds, tell)
        except DatabaseUnreachable as error:
            tell(f"the worker of {seat.host} cannot begin yet: {error.message}")
            time.sleep(_BEGIN_AGAIN)
        else:
            return

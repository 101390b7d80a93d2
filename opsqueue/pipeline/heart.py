"""One thread a process that stretches the leases of the work in hand, so that a long command keeps its operation.

A process that dies stops beating, and its leases lapse.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opsqueue.errors import DatabaseUnreachable, LeaseLost

_log = logging.getLogger("opsqueue.heart")
_TICK = 0.5


@dataclass(slots=True)
class _Beat:
    renew: Callable[[], None]
    every: float
    next_at: float


class Heart:
    """Renews what it is given every `every` seconds, until it is let go."""

    def __init__(self) -> None:
        self._beats: dict[int, _Beat] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def beating(self, renew: Callable[[], None], every: float) -> Iterator[None]:
        """Call `renew` every so many seconds while the block runs; a lost lease is left to the block to find."""
        beat = _Beat(renew, every, time.monotonic() + every)
        with self._lock:
            self._beats[id(beat)] = beat
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="opsqueue-heart", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._beats.pop(id(beat), None)

    def _run(self) -> None:
        while True:
            time.sleep(_TICK)
            now = time.monotonic()
            with self._lock:
                if not self._beats:  # the next one who needs it starts another
                    self._thread = None
                    return
                due = [beat for beat in self._beats.values() if beat.next_at <= now]
            for beat in due:
                beat.next_at = now + beat.every
                self._renew(beat)

    def _renew(self, beat: _Beat) -> None:
        try:
            beat.renew()
        except LeaseLost:
            with self._lock:
                self._beats.pop(id(beat), None)
        except DatabaseUnreachable as error:
            _log.warning("a lease could not be renewed: %s", error.message)
        except Exception:  # noqa: BLE001  # one beat must not end the others
            _log.exception("ERROR while a lease was renewed")

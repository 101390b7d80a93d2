"""Celery Beat: `python -m opsqueue.tasks beat`. Any number may run: the record lets each slot submit once.

The scheduler keeps nothing on disk (Beat's own file is a pickle); what was missed is caught up by `upkeep`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from celery import Celery
from celery.beat import Scheduler
from celery.schedules import BaseSchedule

from opsqueue import telemetry
from opsqueue.beat_schedule import UPKEEP_SECONDS, Entry, build
from opsqueue.operations import catalogue
from opsqueue.pipeline.schedule import next_slot
from opsqueue.settings import Settings, load
from opsqueue.tasks import transport
from opsqueue.tasks.app import make_app
from opsqueue.tasks.voice import speak

_TOO_SOON = 0.010
"""Seconds by which Beat comes earlier than it is told; it would ask again and again until the slot is there."""

_SENT = {"queue": "intake", "ignore_result": True}
"""How each message goes; without the second word Celery listens for a result, and gives up when Redis goes away."""


class Slots(BaseSchedule):  # type: ignore[misc]  # Celery is untyped
    """Ticks at each slot of an entry, as the record reckons them; Celery's own periods begin when Beat was started."""

    def __init__(self, entry: Entry, nowfun: Callable[[], datetime] | None = None, app: Celery | None = None) -> None:
        super().__init__(nowfun=nowfun, app=app)
        self.entry = entry

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        """Whether a slot came since then, and the seconds until Beat should ask again."""
        now: float = self.now().timestamp()
        coming = next_slot(self.entry, last_run_at.timestamp())
        due = coming <= now
        return due, (next_slot(self.entry, now) if due else coming) - now + _TOO_SOON

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slots) and (self.entry, self.nowfun) == (other.entry, other.nowfun)

    def __hash__(self) -> int:
        return hash(self.entry.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.entry, self.nowfun)


class Steady(Scheduler):  # type: ignore[misc]  # Celery is untyped
    """Begins its plan anew when the clock was set back: all of it would wait until the old time comes again."""

    clock = staticmethod(time.time)
    _newest = 0.0

    def tick(self) -> float:
        """Send what is due; the seconds until the next look."""
        now = self.clock()
        if now < self._newest:
            self._heap = None
            for entry in self.schedule.values():
                entry.last_run_at = min(entry.last_run_at, entry.default_now())
        self._newest = now
        return float(super().tick())


def entries(settings: Settings, nowfun: Callable[[], datetime] | None = None) -> dict[str, Any]:
    """The schedule in Celery's form: one tick for each entry at its slots, and the upkeep."""
    ticks = {name: _celery(entry, nowfun) for name, entry in build(settings, catalogue()).items()}
    upkeep = {"task": "opsqueue.upkeep", "schedule": UPKEEP_SECONDS, "options": _SENT}
    return {**ticks, "upkeep": upkeep}


def _celery(entry: Entry, nowfun: Callable[[], datetime] | None) -> dict[str, Any]:
    # A tick that nobody took before the next is worth nothing: the worker finds the newest slot by itself.
    options = {**_SENT, "expires": entry.every or 3600}
    return {"task": "opsqueue.tick", "schedule": Slots(entry, nowfun), "args": (entry.name,), "options": options}


def main(words: Sequence[str]) -> int:
    """Tick until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    settings = load(parser.parse_args(words).config)
    telemetry.configure(settings.log_dir, form=settings.logging.format, level=settings.logging.level)
    speak(settings, "beat")
    transport.install()
    app = make_app(settings)
    app.conf.beat_schedule = entries(settings)
    app.Beat(scheduler="opsqueue.tasks.beat:Steady", loglevel="WARNING", max_interval=5, quiet=True).run()
    return 0

"""Celery Beat: `python -m opsqueue.tasks beat`. Any number may run: the record lets each slot submit once.

The scheduler keeps nothing on disk (Beat's own file is a pickle); what was missed is caught up by `upkeep`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from celery.schedules import crontab

from opsqueue import telemetry
from opsqueue.beat_schedule import UPKEEP_SECONDS, Entry, build
from opsqueue.operations import catalogue
from opsqueue.settings import Settings, load
from opsqueue.tasks import transport
from opsqueue.tasks.app import make_app


def entries(settings: Settings) -> dict[str, Any]:
    """The schedule in Celery's form: one tick for each entry, and the upkeep."""
    ticks = {name: _celery(entry) for name, entry in build(settings, catalogue()).items()}
    upkeep = {"task": "opsqueue.upkeep", "schedule": UPKEEP_SECONDS, "options": {"queue": "intake"}}
    return {**ticks, "upkeep": upkeep}


def _celery(entry: Entry) -> dict[str, Any]:
    when = float(entry.every) if entry.every is not None else _crontab(str(entry.cron))
    # A tick that nobody took before the next is worth nothing: the worker finds the newest slot by itself.
    lasting = {"expires": entry.every or 3600}
    return {"task": "opsqueue.tick", "schedule": when, "args": (entry.name,), "options": {"queue": "intake", **lasting}}


def _crontab(cron: str) -> crontab | float:
    # The record decides what is due; what Celery cannot read (`0 0 * * 7`, `L`) is looked at each minute instead.
    try:
        return crontab.from_string(cron)
    except ValueError:
        return float(UPKEEP_SECONDS)


def main(words: Sequence[str]) -> int:
    """Tick until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    settings = load(parser.parse_args(words).config)
    telemetry.configure(settings.log_dir, form=settings.logging.format, level=settings.logging.level)
    transport.install()
    app = make_app(settings)
    app.conf.timezone = settings.timezone
    app.conf.beat_schedule = entries(settings)
    app.Beat(scheduler="celery.beat:Scheduler", loglevel="WARNING", max_interval=5, quiet=True).run()
    return 0

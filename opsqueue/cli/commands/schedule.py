"""What happens by the clock, and when next; or now, for once."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from opsqueue.beat_schedule import Entry, build
from opsqueue.cli import times
from opsqueue.cli.commands.execute import add_following, carried_out
from opsqueue.cli.exit_status import MEANING
from opsqueue.cli.nearest import nearest
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, add_verb, verbs
from opsqueue.cli.record import opened
from opsqueue.cli.tables import Narrow
from opsqueue.errors import NotFound
from opsqueue.model.instant import utc_text
from opsqueue.operations import catalogue
from opsqueue.pipeline.schedule import next_slot
from opsqueue.settings import Settings, load
from opsqueue.store.schedules import last_slot

HEADERS = ("NAME", "TYPE", "SYSTEMS", "WHEN", "LAST", "NEXT")
NARROW = Narrow(drops=("LAST", "TYPE", "SYSTEMS"))


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 10, 12), "opsqueue schedule list", "opsqueue schedule run backup")
    below = verbs(parser)
    lists = add_verb(below, "list", "the built-in entries, and those of the setting `schedule`")
    lists.ends((0, 2, 12), "opsqueue schedule list", "opsqueue schedule list --output json")
    runs = add_verb(below, "run", "ask now for what an entry asks for by the clock; its own times stay as they are")
    runs.add_argument("name", metavar="NAME", help="the entry, as `schedule list` shows it")
    runs.add_argument("--reason", default="", help="why it is asked for; everybody can read it")
    add_following(runs)
    runs.ends(tuple(MEANING), "opsqueue schedule run backup", "opsqueue schedule run health-check --wait")


def run(given: Namespace) -> int:
    """List them, or ask for one now."""
    settings = load(given.config)
    entries = build(settings, catalogue())
    if given.verb == "list":
        return _list(Out.of(given), settings, entries)
    if given.name not in entries:
        raise NotFound(
            f"nothing called {given.name[:80]!r} happens by the clock{nearest(given.name, entries)}; "
            "`opsqueue schedule list` shows what does"
        )
    given.operation_id = None
    return carried_out(given, entries[given.name].request())


def _list(out: Out, settings: Settings, entries: Mapping[str, Entry]) -> int:
    now = time.time()
    last = _last(settings, list(entries), now)
    listed = [_json(entry, last.get(name), now) for name, entry in sorted(entries.items())]
    out.listing("schedule", listed, HEADERS, _cells, NARROW)
    if not listed:
        note("nothing happens by the clock: every entry is switched off")
    return 0


def _last(settings: Settings, names: list[str], now: float) -> dict[str, float | None]:
    with opened(settings) as store:
        if store is None:
            return {}
        with store.read() as connection:
            return {name: last_slot(connection, name, now) for name in names}


def _json(entry: Entry, last: float | None, now: float) -> dict[str, Any]:
    return {
        "name": entry.name,
        "type": entry.type,
        "systems": list(entry.systems),
        "every_seconds": entry.every,
        "cron": entry.cron,
        "timezone": entry.timezone,
        "priority": entry.priority,
        "last_slot": None if last is None else utc_text(last),
        "next_slot": utc_text(next_slot(entry, now)),
    }


def _cells(entry: Mapping[str, Any]) -> tuple[object, ...]:
    when = (
        f"every {times.length(entry['every_seconds'])}"
        if entry["cron"] is None
        else f"{entry['cron']} {entry['timezone']}"
    )
    systems = ", ".join(entry["systems"])
    return entry["name"], entry["type"], systems, when, times.stamp(entry["last_slot"]), times.stamp(entry["next_slot"])

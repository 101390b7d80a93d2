"""Forbid changes to hosts, groups or types for a time, whoever asks."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from opsqueue.cli import times
from opsqueue.cli.acting import acting
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, add_verb, verbs
from opsqueue.cli.record import no_record, opened
from opsqueue.cli.tables import Narrow
from opsqueue.client import actor
from opsqueue.errors import InvalidRequest
from opsqueue.model.duration import duration
from opsqueue.model.record import Freeze
from opsqueue.pipeline import control
from opsqueue.pipeline.views import freeze_json
from opsqueue.settings import Settings, load
from opsqueue.store import holds

HEADERS = ("ID", "STATE", "SCOPE", "FROM", "UNTIL", "BY", "REASON")
NARROW = Narrow(beneath=("REASON",), drops=("BY", "FROM"), last=("UNTIL",))


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends(
        (0, 2, 10, 12), "opsqueue freeze add --scope all --reason 'release week' --for 3d", "opsqueue freeze list"
    )
    below = verbs(parser)
    add = add_verb(below, "add", "forbid changes from now on")
    add.add_argument("--scope", required=True, nargs="+", metavar="WORD", help="hosts, groups, tags, types, or `all`")
    add.add_argument("--reason", required=True, help="everybody who has to wait reads it")
    end = add.add_mutually_exclusive_group(required=True)
    end.add_argument("--for", dest="lasting", metavar="DURATION", help="how long: 90m, 2h, 3d")
    end.add_argument("--until", metavar="TIME", help="when it ends: 2026-03-01T14:30, in the configured time zone")
    end.add_argument("--open-ended", action="store_true", help="until somebody lifts it")
    add.ends((0, 2, 10, 12), "opsqueue freeze add --scope web db-server-1 --reason 'release 4.2' --for 2h")
    lists = add_verb(below, "list", "the freezes that stand or are to come")
    lists.add_argument("--all", action="store_true", help="those that ended, too")
    lists.ends((0, 2, 12), "opsqueue freeze list --all")
    lift = add_verb(below, "lift", "end a freeze now; what it held looks again")
    lift.add_argument("freeze", metavar="ID", help="as `freeze list` shows it; its beginning is enough")
    lift.ends((0, 2, 9, 10, 12), "opsqueue freeze lift 1a2b3c4d")


def run(given: Namespace) -> int:
    """Add, list or lift."""
    out, settings = Out.of(given), load(given.config)
    if given.verb == "list":
        _list(out, settings, every=given.all)
        return 0
    # Read before the record is opened: a wrong time is the sender's mistake, whatever the record is.
    ends_at = _ends_at(given, settings) if given.verb == "add" else None
    with acting(settings) as world:
        if given.verb == "lift":
            lifted = control.lift_freeze(world, given.freeze, actor=actor())
            _say(out, {"freeze_id": lifted, "lifted": True}, f"{lifted} is lifted")
            return 0
        freeze = control.add_freeze(
            world, scope=tuple(given.scope), reason=given.reason, ends_at=ends_at, starts_at=None, actor=actor()
        )
    data = freeze_json(freeze, time.time())
    end = f"until {times.stamp(data['ends_at'])}" if data["ends_at"] else "until `opsqueue freeze lift` ends it"
    _say(out, data, f"{freeze.id} stands {end}")
    return 0


def _say(out: Out, data: Mapping[str, Any], text: str) -> None:
    if out.json:
        out.entry(data)
    else:
        out.line(text)


def _ends_at(given: Namespace, settings: Settings) -> float | None:
    now = time.time()
    if given.lasting is not None:
        return now + duration(given.lasting)
    if given.until is None:
        return None
    at = times.moment(given.until, now=now, zone=settings.timezone)
    if at <= now:
        raise InvalidRequest(f"--until {given.until} has passed; say how long it lasts with --for, or a later time")
    return at


def _list(out: Out, settings: Settings, *, every: bool) -> None:
    now, hint = time.time(), "no freeze stands"
    found: tuple[Freeze, ...] = ()
    with opened(settings) as store:
        if store is None:
            hint = no_record(settings)
        else:
            with store.read() as connection:
                found = holds.all_freezes(connection) if every else holds.active_freezes(connection, now)
    out.listing("freezes", [freeze_json(freeze, now) for freeze in found], HEADERS, _cells, NARROW)
    if not found:
        note(hint)


def _cells(freeze: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        freeze["freeze_id"],
        freeze["state"],
        ", ".join(freeze["scope"]),
        times.stamp(freeze["starts_at"]),
        times.stamp(freeze["lifted_at"] or freeze["ends_at"]) or "lifted",
        freeze["created_by"],
        freeze["reason"],
    )

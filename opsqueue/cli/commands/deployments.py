"""What was deployed, how its health check went, and what followed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from opsqueue.cli import render, times
from opsqueue.cli.acting import acting
from opsqueue.cli.nearest import nearest
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, add_verb, verbs, whole_number
from opsqueue.cli.record import needed, no_record, opened
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe
from opsqueue.client import actor
from opsqueue.errors import NotFound
from opsqueue.pipeline.deployments import as_json, forget
from opsqueue.settings import Settings, load
from opsqueue.store import deployments

HEADERS = ("ID", "AT", "SERVICE", "VERSION", "STATE", "SYSTEMS", "BY", "WHY")
_NAMED = 20
NARROW = Narrow(beneath=("WHY",), drops=("BY", "SYSTEMS", "AT"))


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 9, 10, 12), "opsqueue deployments list --service shop", "opsqueue deployments show 6f1c")
    below = verbs(parser)
    lists = add_verb(below, "list", "the newest first")
    lists.add_argument("--service", metavar="NAME", help="only those of this service")
    lists.add_argument("--limit", type=whole_number(1, 100_000), default=50, metavar="N", help="at most (default: 50)")
    lists.ends((0, 2, 10, 12), "opsqueue deployments list --service shop --output json")
    show = add_verb(below, "show", "one deployment")
    show.add_argument("deployment", metavar="ID", help="of its event; the beginning is enough")
    show.ends((0, 2, 9, 10, 12), "opsqueue deployments show 6f1c --output json")
    gone = add_verb(below, "forget", "monitor a service no more; the next healthy deployment is monitored again")
    gone.add_argument("service", metavar="SERVICE", help="as its deployments name it")
    gone.add_argument("hosts", nargs="*", metavar="HOST", help="only on these; default: everywhere")
    gone.ends((0, 2, 10, 12), "opsqueue deployments forget shop web-server-1")


def run(given: Namespace) -> int:
    """List, show or forget."""
    out, settings = Out.of(given), load(given.config)
    if given.verb == "forget":
        return _forget(out, settings, given)
    if given.verb == "list":
        listed = _listed(settings, given)
        ids = render.shorts(one["event_id"] for one in listed)
        out.listing("deployments", listed, HEADERS, lambda one: (ids[one["event_id"]], *_cells(one)), NARROW)
        return 0
    with needed(settings) as store, store.read() as connection:
        found = deployments.get(connection, deployments.resolve(connection, given.deployment))
    _show(out, as_json(found))
    return 0


def _forget(out: Out, settings: Settings, given: Namespace) -> int:
    with acting(settings) as world:
        hosts = forget(world, given.service, given.hosts, actor=actor())
    if out.json:
        out.entry({"service": given.service, "forgotten": hosts})
    else:
        out.line(f"{safe(given.service)} is not monitored any more on {safe(', '.join(hosts))}")
    return 0


def _listed(settings: Settings, given: Namespace) -> list[dict[str, Any]]:
    with opened(settings) as store:
        if store is None:
            note(no_record(settings))
            return []
        with store.read() as connection:
            found = deployments.listed(connection, service=given.service, limit=given.limit)
            services = [] if found else sorted({*deployments.services(connection), *settings.deployments})
    if not found and given.service and services and given.service not in services:
        near = nearest(given.service, services) or f"; there are: {', '.join(services[:_NAMED])}"
        raise NotFound(f"there is no service {given.service[:80]!r}, deployed or configured{near}", known=services)
    if not found:
        whose = f" of {given.service}" if given.service else ""
        note(f"no deployment{whose} was told of; docs/deployments.md says how")
    return [as_json(one) for one in found]


def _cells(one: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        times.stamp(one["created_at"]),
        one["service"],
        one["version"],
        one["state"],
        ", ".join(one["systems"]),
        one["requested_by"],
        one["why"],
    )


def _show(out: Out, data: Mapping[str, Any]) -> None:
    if out.json:
        out.entry(data)
        return
    rows = {
        "deployment": data["event_id"],
        "service": data["service"],
        "version": data["version"],
        "systems": ", ".join(data["systems"]),
        "told as": data["status"],
        "state": data["state"],
        "why": data["why"],
        "health check": data["health_check_id"],
        "rollback": data["rollback_id"],
        "asked by": data["requested_by"],
        "reason": data["reason"],
        "at": times.stamp(data["created_at"]),
        "over": times.stamp(data["finished_at"]),
    }
    for key, value in rows.items():
        if value:
            out.line(f"{key:<12} {out.word(value) if key == 'state' else safe(value)}")

"""The inventory: list the hosts, show one, check that they answer."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opsqueue.cli import times
from opsqueue.cli.exit_status import FAILED
from opsqueue.cli.inventory import known, resolved
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, add_verb, verbs
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe
from opsqueue.errors import OpsqueueError
from opsqueue.facts.system import system_reading
from opsqueue.model.fact import why_unknown
from opsqueue.model.host import Host
from opsqueue.pipeline.assemble import connect
from opsqueue.settings import load

HEADERS = ("HOST", "CONNECTOR", "ADDRESS", "GROUPS", "TAGS")
NARROW = Narrow(drops=("TAGS", "GROUPS"), last=("ADDRESS",))
ASKED = ("HOST", "STATE", "TOOK", "MISSING")
_SIDE_BY_SIDE = 16
_SUBJECTS = ("host", "cpu", "memory", "disk", "load")


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 3, 10), "opsqueue hosts list", "opsqueue hosts check")
    below = verbs(parser)
    lists = add_verb(below, "list", "every host of the configuration")
    lists.ends((0, 2), "opsqueue hosts list")
    shows = add_verb(below, "show", "one host, with the defaults of parameters that it brings")
    shows.add_argument("host", metavar="HOST", help="its name")
    shows.ends((0, 2, 10), "opsqueue hosts show web-server-1")
    checks = add_verb(below, "check", "ask each host something, and say who answered; changes nothing")
    checks.add_argument("systems", nargs="*", metavar="SYSTEM", help="hosts and groups (default: all)")
    checks.ends((0, 2, 3, 10), "opsqueue hosts check web-server-1")


def run(given: Namespace) -> int:
    """List, show or check."""
    out, settings = Out.of(given), load(given.config)
    if given.verb == "list":
        listed = [host.model_dump(mode="json", exclude={"parameters"}) for host in settings.inventory().values()]
        out.listing("hosts", listed, HEADERS, _cells, NARROW)
        if not settings.hosts:
            note("the configuration names no hosts, so there is this machine")
        return 0
    if given.verb == "show":
        _show(out, known(settings, given.host))
        return 0
    return _check(out, resolved(settings, given.systems or ["all"]))


def _cells(host: Mapping[str, Any]) -> tuple[object, ...]:
    return host["name"], host["connector"], host["address"], ", ".join(host["groups"]), ", ".join(host["tags"])


def _show(out: Out, host: Host) -> None:
    data = host.model_dump(mode="json")
    if out.json:
        out.entry(data)
        return
    for key, value in data.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        if shown:
            out.line(f"{key:<12} {safe(shown)}")


def _check(out: Out, hosts: list[Host]) -> int:
    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(hosts))) as pool:
        listed = list(pool.map(_asked, hosts))
    out.listing("hosts", listed, ASKED, _asked_cells, Narrow(beneath=("MISSING",), drops=("TOOK",)))
    return FAILED if any(one["state"] == "fail" for one in listed) else 0


def _asked_cells(one: Mapping[str, Any]) -> tuple[object, ...]:
    return one["host"], one["state"], times.length(one["seconds"]), _missing(one)


def _missing(one: Mapping[str, Any]) -> str:
    return one["error"] or "; ".join(f"{name}: {why}" for name, why in one["unknown"].items())


def _asked(host: Host) -> dict[str, Any]:
    """Whether a host answers, and which of the questions it could not answer."""
    began = time.monotonic()
    fact = system_reading(subjects=_SUBJECTS, sample_gap_s=0.05, timeout=10)
    error, unknown = "", {}
    try:
        reading = connect(host).ask([fact])[fact.name]
        error = why_unknown(reading) or ""
        if not error:
            unknown = {name: why for name in _SUBJECTS if (why := why_unknown(reading.get(name)))}
    except OpsqueueError as problem:
        error = problem.message
    state = "fail" if error else "warn" if unknown else "ok"
    took = round(time.monotonic() - began, 3)
    return {"host": host.name, "state": state, "seconds": took, "error": error or None, "unknown": unknown}

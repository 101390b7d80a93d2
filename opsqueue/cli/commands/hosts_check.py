"""`hosts check`: ask each host something, and say who answered; changes nothing."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from opsqueue.cli import render_hosts, times
from opsqueue.cli.exit_status import FAILED
from opsqueue.cli.output import Out
from opsqueue.cli.render_hosts import reasons
from opsqueue.cli.tables import Narrow
from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.connectors.shell import Shell
from opsqueue.errors import OpsqueueError
from opsqueue.facts.system import system_reading
from opsqueue.model.fact import why_unknown
from opsqueue.model.host import Host
from opsqueue.pipeline.assemble import connector
from opsqueue.settings import Settings

ASKED = ("HOST", "STATE", "TOOK", "MISSING")
_SIDE_BY_SIDE = 64
_SUBJECTS = ("host", "cpu", "memory", "disk", "load")


def check(given: Namespace, out: Out, settings: Settings) -> int:
    """Print who answered, and who did not; 3 if one did not."""
    inventory = read_inventory(settings)
    listed = asked(inventory.select(given.systems or ["all"]), connector(settings, inventory.__getitem__))
    beside, lines = reasons((one["host"], why) for one in listed for why in _missing(one))
    headers = ASKED[:-1] if lines else ASKED

    def cells(one: Mapping[str, Any]) -> tuple[object, ...]:
        return (one["host"], one["state"], times.length(one["seconds"]), beside.get(one["host"], ""))[: len(headers)]

    out.listing("hosts", listed, headers, cells, Narrow(beneath=("MISSING",), drops=("TOOK",)))
    if not out.json:
        render_hosts.listed(out, "missing", lines)
    return FAILED if any(one["state"] == "fail" for one in listed) else 0


def asked(hosts: Sequence[Host], connect: Callable[[Host], Shell]) -> list[dict[str, Any]]:
    """What each host answered, asked side by side: `{host, state, seconds, error, unknown}`."""
    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(hosts))) as pool:
        return list(pool.map(partial(_asked, connect), hosts))


def _missing(one: Mapping[str, Any]) -> list[str]:
    return [one["error"]] if one["error"] else [f"{name}: {why}" for name, why in one["unknown"].items()]


def _asked(connect: Callable[[Host], Shell], host: Host) -> dict[str, Any]:
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

"""The system metrics of the hosts, live on a terminal with their past, one reading when piped; nothing is recorded."""

from __future__ import annotations

import shutil
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from opsqueue.cli import render
from opsqueue.cli.exit_status import FAILED
from opsqueue.cli.monitor_past import TOPS, MonitorPast, drawn
from opsqueue.cli.output import Out, put
from opsqueue.cli.parsing import Parser, seconds
from opsqueue.cli.tables import Narrow
from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.connectors.shell import Shell
from opsqueue.errors import OpsqueueError
from opsqueue.facts.system import system_metrics, system_reading
from opsqueue.model.fact import why_unknown
from opsqueue.model.host import Host
from opsqueue.pipeline.assemble import connector
from opsqueue.settings import load
from opsqueue.telemetry import iso

_SIDE_BY_SIDE = 64
_GAP_S = 0.5
"""Seconds between the two samples whose difference is a rate."""
_SUBJECTS = ("host", "cpu", "memory", "swap", "disk", "load", "network", "io", "processes")
_SHOWN = ("cpu_usage", "memory_usage", "swap_usage", "disk_usage", "load_per_cpu_1m", "processes", "uptime")
HEADERS = ("HOST", "CPU", "MEMORY", "SWAP", "DISK", "LOAD/CPU", "PROCS", "UP", "IN", "OUT", "ERROR")
NARROW = Narrow(
    beneath=("ERROR",), drops=("PROCS", "SWAP", "OUT", "IN", "UP"), last=("LOAD/CPU", "DISK", "MEMORY", "CPU")
)
_PAST = {"CPU": "cpu_usage", "MEMORY": "memory_usage", "LOAD/CPU": "load_per_cpu_1m"}
"""The columns that have a sparkline beside them."""
LIVE_HEADERS = tuple(name for one in HEADERS for name in ((one, f"{one} PAST") if one in _PAST else (one,)))
LIVE_NARROW = Narrow(
    beneath=("ERROR",),
    drops=("PROCS", "SWAP", "OUT", "IN", "LOAD/CPU PAST", "MEMORY PAST", "UP", "CPU PAST"),
    last=("LOAD/CPU", "DISK", "MEMORY", "CPU"),
)


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument(
        "--systems",
        nargs="+",
        default=["all"],
        metavar="SYSTEM",
        help="hosts, groups, tags, `web-*`, and `!` before what is left out (default: all)",
    )
    parser.add_argument("--once", action="store_true", help="one reading, on a terminal too")
    parser.add_argument(
        "--interval", type=seconds, default=2.0, metavar="SECONDS", help="between readings (default: 2)"
    )
    parser.ends((0, 2, 3, 10, 130), "opsqueue monitor", "opsqueue monitor --systems web-server-1 --once --output json")


def run(given: Namespace) -> int:
    """Read once, or again and again until Ctrl-C."""
    out, settings = Out.of(given), load(given.config)
    inventory = read_inventory(settings)
    hosts, connect = inventory.select(given.systems), connector(settings, inventory.__getitem__)
    if given.once or not out.terminal or out.json:
        return _once(out, read(hosts, connect))
    past = MonitorPast(settings) if drawn() else None
    while True:
        began = time.monotonic()
        reading = read(hosts, connect)
        show(replace(out, width=shutil.get_terminal_size().columns), reading, past)
        time.sleep(max(0.0, given.interval - (time.monotonic() - began)))


def show(out: Out, reading: Mapping[str, Any], past: MonitorPast | None, at: float | None = None) -> None:
    """One screen: the reading, and beside it what was before."""
    now = time.time() if at is None else at
    put("\x1b[H\x1b[2J", end="")
    out.line(f"opsqueue monitor  {reading['at']}  (Ctrl-C leaves)\n")
    if past is None:
        _print(out, reading)
        return
    past.add(now, reading["hosts"])
    rows = [_with_past(host, past, now) for host in reading["hosts"]]
    out.rows(LIVE_HEADERS, rows, narrow=LIVE_NARROW)
    render.unknown(out, rows)
    out.text(f"PAST: {past.words}; the highest letter is 100 %, or a load of {TOPS['load_per_cpu_1m']:g} for each CPU")


def _with_past(host: Mapping[str, Any], past: MonitorPast, at: float) -> tuple[object, ...]:
    shown = zip(HEADERS, _cells(host), strict=True)
    return tuple(
        cell
        for name, value in shown
        for cell in ((value, past.shown(host["host"], _PAST[name], at)) if name in _PAST else (value,))
    )


def _once(out: Out, reading: Mapping[str, Any]) -> int:
    if out.form == "jsonl":
        for host in reading["hosts"]:
            out.entry({"at": reading["at"], **host})
    elif out.json:
        out.entry(reading)
    else:
        _print(out, reading)
    return FAILED if any(host["error"] for host in reading["hosts"]) else 0


def read(hosts: Sequence[Host], connect: Callable[[Host], Shell]) -> dict[str, Any]:
    """One reading of all: `{at, hosts: [{host, error, metrics: {name: {value, unit}}}]}`."""
    at = time.time()
    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(hosts))) as pool:
        return {"at": iso(at), "hosts": list(pool.map(partial(_read_one, connect), hosts))}


def _read_one(connect: Callable[[Host], Shell], host: Host) -> dict[str, Any]:
    fact = system_reading(subjects=_SUBJECTS, sample_gap_s=_GAP_S, top_processes=0)
    try:
        facts = connect(host).ask([fact])
    except OpsqueueError as error:
        return {"host": host.name, "error": error.message, "metrics": {}}
    found = {metric.name: {"value": metric.value, "unit": metric.unit} for metric in system_metrics(facts)}
    return {"host": host.name, "error": why_unknown(facts[fact.name]), "metrics": found}


def _print(out: Out, reading: Mapping[str, Any]) -> None:
    rows = [_cells(host) for host in reading["hosts"]]
    out.rows(HEADERS, rows, narrow=NARROW)
    render.unknown(out, rows)


def _cells(host: Mapping[str, Any]) -> tuple[object, ...]:
    metrics = host["metrics"]
    named = (metrics.get(name) for name in _SHOWN)
    numbers = [render.metric(one) for one in named]
    traffic = [render.number(total(metrics, f"network_{way}:"), "bytes/s") for way in ("receive", "send")]
    return host["host"], *numbers, *traffic, host["error"] or ""


def total(metrics: Mapping[str, Mapping[str, Any]], prefix: str) -> float | None:
    """The sum of what is known of all interfaces; None when nothing is."""
    known = [one["value"] for name, one in metrics.items() if name.startswith(prefix) and one["value"] is not None]
    return sum(known) if known else None

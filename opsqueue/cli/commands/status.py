"""What is active now, and what each operation waits for; or how one operation stands."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from opsqueue.cli import render, render_hosts, times
from opsqueue.cli.output import Out, note, put
from opsqueue.cli.parsing import Parser, seconds
from opsqueue.cli.record import no_record, one, opened
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe
from opsqueue.model.names import Stage
from opsqueue.pipeline.views import brief, whole, why
from opsqueue.settings import Settings, load
from opsqueue.store import events, history, holds, operations
from opsqueue.telemetry import iso

Look = Callable[[], tuple[Mapping[str, Any], str]]
"""What is found, and a hint for people when that is nothing."""
_LATELY = 86_400.0
_PATIENCE = 5.0
"""Seconds after which somebody who looks for due operations would have said so again."""
HEADERS = ("ID", "STATUS", "NAME", "TYPE", "PRIORITY", "SYSTEMS", "AGE", "WAITS FOR")
NARROW = Narrow(beneath=("WAITS FOR",), drops=("PRIORITY", "TYPE", "AGE"), last=("SYSTEMS",))


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("operation", nargs="?", metavar="ID", help="one operation; the beginning of its id is enough")
    parser.add_argument("--watch", action="store_true", help="look again and again until Ctrl-C, or until it has ended")
    parser.add_argument(
        "--interval", type=seconds, default=1.0, metavar="SECONDS", help="between two looks (default: 1)"
    )
    parser.ends(
        (0, 2, 9, 10, 12, 130), "opsqueue status", "opsqueue status 6f1c --watch", "opsqueue status --output json"
    )


def run(given: Namespace) -> int:
    """Look once, or again and again."""
    out, settings = Out.of(given), load(given.config)
    look: Look = (lambda: _one(settings, given.operation)) if given.operation else (lambda: _all(settings))
    if given.watch:
        watch(out, look, given.interval)
    else:
        show(out, *look())
    return 0


def _all(settings: Settings) -> tuple[Mapping[str, Any], str]:
    with opened(settings) as store:
        if store is None:
            return {"operations": [], "messages_buried": []}, no_record(settings)
        with store.read() as connection:
            found = history.active(connection)
            buried = events.latest(connection, "messages_buried", limit=1)
            watch = holds.lease_of(connection, "reconciler")
    now = time.time()
    hints = [] if found else ["nothing is active; `opsqueue history` lists what ended"]
    if found and (watch is None or watch[1] < now - _PATIENCE):
        hints.append("no worker runs, so nothing goes on: `opsqueue up`, or `opsqueue worker` and `opsqueue beat`")
    if lately := [line for line in buried if line.at > now - _LATELY]:
        hints.append(f"{lately[0].message} {times.length(now - lately[0].at)} ago; `opsqueue doctor` shows them")
    told = [{"at": iso(line.at), **line.data} for line in lately]
    return {"operations": [brief(operation, now) for operation in found], "messages_buried": told}, "\n".join(hints)


def _one(settings: Settings, prefix: str) -> tuple[Mapping[str, Any], str]:
    now = time.time()
    with one(settings, prefix) as (store, operation_id):
        with store.read() as connection:
            operation = operations.get(connection, operation_id)
        reasons = why(whole(store, operation_id, now))
    return {**brief(operation, now), "why": reasons}, ""


def watch(out: Out, look: Look, interval: float) -> None:
    """Show again whenever something changed, on a terminal in place; ends when the one operation has ended."""
    shown: Mapping[str, Any] | None = None
    while True:
        data, hint = look()
        if data != shown or out.terminal:
            if out.terminal and not out.json:
                put("\x1b[H\x1b[2J", end="")
            show(out, data, hint)
            shown = data
        if data.get("stage") == Stage.CLOSED:
            return
        time.sleep(interval)


def show(out: Out, data: Mapping[str, Any], hint: str) -> None:
    """Print one look, and the hint beside it."""
    if hint:
        note(hint)
    if "operations" not in data:
        _show_one(out, data)
        return
    if out.form == "json":  # whole: what was buried stands beside the operations
        out.entry(data)
        return
    now = time.time()
    out.listing("operations", data["operations"], HEADERS, lambda one: _cells(one, now), NARROW)


def _cells(operation: Mapping[str, Any], now: float) -> tuple[object, ...]:
    return (
        render.short(operation["operation_id"]),
        operation["status"],
        operation["name"],
        operation["type"],
        operation["priority"],
        ", ".join(operation["systems"]),
        times.length(max(0.0, now - times.unix(operation["created_at"]))),
        render.waits_for(operation, now),
    )


def _show_one(out: Out, data: Mapping[str, Any]) -> None:
    if out.json:
        out.entry(data)
        return
    what = f"{safe(data['type'])} on {safe(', '.join(data['systems']))}"
    out.line(f"{out.word(data['status'])}  {safe(data['name'])}  ({what})")
    out.line(f"stage {data['stage']}, {data['operation_id']}")

    def when(reason: Mapping[str, Any]) -> str:
        at = times.until(reason["until"], time.time())
        return f"  {at}" if at else ""

    render_hosts.whys(out, data["why"], when)

"""Every reason why an operation waits or was refused, and when it can go on."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from opsqueue.cli import times
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser
from opsqueue.cli.record import one
from opsqueue.cli.render_hosts import whys
from opsqueue.pipeline.views import whole, why
from opsqueue.settings import load


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("operation", metavar="ID", help="the operation; the beginning of its id is enough")
    parser.ends((0, 2, 9, 10, 12), "opsqueue why 6f1c")


def run(given: Namespace) -> int:
    """Print the reasons."""
    out, now = Out.of(given), time.time()
    with one(load(given.config), given.operation) as (store, operation_id):
        data = whole(store, operation_id, now)
    reasons = why(data)
    if out.json:
        out.entry({"operation_id": operation_id, "status": data["status"], "reasons": reasons})
        return 0
    ended = data["finished_at"]

    def when(reason: Mapping[str, Any]) -> str:
        at = times.until(reason["until"], now)
        return f"; goes on {at}" if at and not ended else ""

    whys(out, reasons, when)  # no table: a terminal would cut the reasons off
    if ended and reasons:
        note(f"it has ended: {data['status']}")
    if not reasons:
        note(f"nothing stands against it; it is {data['status']}")
    return 0

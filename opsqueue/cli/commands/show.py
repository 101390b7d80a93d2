"""Everything about one operation."""

from __future__ import annotations

import time
from argparse import Namespace

from opsqueue.cli import render
from opsqueue.cli.output import Out
from opsqueue.cli.parsing import Parser
from opsqueue.cli.record import one
from opsqueue.pipeline.views import whole
from opsqueue.settings import load


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("operation", metavar="ID", help="the operation; the beginning of its id is enough")
    parser.ends((0, 2, 9, 10, 12), "opsqueue show 6f1c", "opsqueue show 6f1c --output json")


def run(given: Namespace) -> int:
    """Print it."""
    out = Out.of(given)
    with one(load(given.config), given.operation) as (store, operation_id):
        data = whole(store, operation_id, time.time())
    if out.json:
        out.entry(data)
    else:
        render.operation(out, data)
    return 0

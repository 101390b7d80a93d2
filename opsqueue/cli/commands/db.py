"""The database: bring its tables to the form that this version needs."""

from __future__ import annotations

from argparse import Namespace

from opsqueue.cli.output import Out
from opsqueue.cli.parsing import Parser, add_verb, verbs
from opsqueue.settings import load
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 12), "opsqueue db upgrade")
    below = verbs(parser)
    up = add_verb(below, "upgrade", "make or change the tables; safe at any time, and side by side")
    up.ends((0, 2, 12), "opsqueue db upgrade")


def run(given: Namespace) -> int:
    """Upgrade, and say from where to where."""
    out = Out.of(given)
    store = Store(load(given.config).database)
    try:
        before, after = upgrade(store)
    finally:
        store.close()
    if out.json:
        out.entry({"before": before, "after": after, "changed": before != after})
    elif before == after:
        out.line(f"the record is up to date: revision {after}")
    else:
        out.line(f"the record is upgraded from {before or 'nothing'} to revision {after}")
    return 0

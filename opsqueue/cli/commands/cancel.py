"""Stop an operation: nothing that is not begun is begun; what is begun is brought to its end."""

from __future__ import annotations

from argparse import Namespace

from opsqueue.cli.confirm import allowed
from opsqueue.cli.output import Out
from opsqueue.cli.parsing import Parser
from opsqueue.cli.record import one
from opsqueue.cli.text import safe
from opsqueue.client import Operations
from opsqueue.settings import load


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("operation", metavar="ID", help="the operation; the beginning of its id is enough")
    parser.add_argument("--reason", default="", help="why; everybody can read it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.ends((0, 2, 9, 10, 12), "opsqueue cancel 6f1c --reason 'wrong host'")


def run(given: Namespace) -> int:
    """Say what is about to be stopped, ask on a terminal, stop it."""
    out = Out.of(given)
    operations = Operations(load(given.config), config_path=given.config)
    with one(operations.settings, given.operation) as (_store, operation_id):
        data = operations.get(operation_id)
    what = f"{safe(data['name'])} ({safe(data['type'])} on {safe(', '.join(data['systems']))}, {data['status']})"
    allowed(f"Cancel {what}? Hosts that were begun are brought to their end.", yes=given.yes)
    operations.cancel(operation_id, reason=given.reason)
    if out.json:
        out.entry({"operation_id": operation_id, "cancel_asked": True})
    else:
        out.line(f"{operation_id} is asked to stop, and the next worker that looks stops it")
        out.line(f"`opsqueue status {operation_id[:8]}` shows how it ends; `opsqueue doctor`, whether a worker runs")
    return 0

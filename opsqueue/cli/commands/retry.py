"""Let an operation that waits for a person look again; dead deliveries are sent again."""

from __future__ import annotations

from argparse import Namespace

from opsqueue.cli.confirm import allowed
from opsqueue.cli.output import Out
from opsqueue.cli.parsing import Parser
from opsqueue.cli.record import one
from opsqueue.cli.risk import risk_of
from opsqueue.cli.text import safe
from opsqueue.client import Operations
from opsqueue.settings import load


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("operation", metavar="ID", help="the operation; the beginning of its id is enough")
    parser.add_argument("--reason", default="", help="why; everybody can read it")
    parser.add_argument("--yes", action="store_true", help="do not ask, not even for what is destructive")
    parser.ends((0, 2, 9, 10, 12), "opsqueue retry 6f1c --reason 'the mail server is back'")


def run(given: Namespace) -> int:
    """Say what is about to be tried, ask on a terminal, try it."""
    out = Out.of(given)
    operations = Operations(load(given.config), config_path=given.config)
    with one(operations.settings, given.operation) as (_store, operation_id):
        data = operations.get(operation_id)
    asked = {"name": data["name"], "type": data["type"], "target_systems": data["systems"]}
    risk = risk_of(operations.settings, {**asked, "parameters": data["parameters"]})
    what = f"{safe(data['name'])} ({safe(data['type'])} on {safe(', '.join(data['systems']))}, {risk.value})"
    allowed(f"Let {what} look again at {data['stage']}?", yes=given.yes, risk=risk)
    operations.retry(operation_id, reason=given.reason)
    if out.json:
        out.entry({"operation_id": operation_id, "retry_asked": True})
    else:
        out.line(f"{operation_id} looks again; `opsqueue status {operation_id[:8]} --watch` shows what comes of it")
    return 0

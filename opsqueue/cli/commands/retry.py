"""Let an operation that waits for a person look again; dead deliveries are sent again."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from opsqueue.cli.confirm import allowed
from opsqueue.cli.output import Out
from opsqueue.cli.parsing import Parser
from opsqueue.cli.record import one
from opsqueue.cli.risk import risk_of
from opsqueue.cli.text import safe
from opsqueue.client import Operations
from opsqueue.settings import load
from opsqueue.telemetry import counted


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("operation", metavar="ID", help="the operation; the beginning of its id is enough")
    parser.add_argument(
        "--failed", action="store_true", help="ask for it anew, on the hosts on which it did not succeed"
    )
    parser.add_argument("--reason", default="", help="why; everybody can read it")
    parser.add_argument("--yes", action="store_true", help="do not ask, not even for what is destructive")
    parser.ends(
        (0, 2, 9, 10, 11, 12), "opsqueue retry 6f1c --reason 'the mail server is back'", "opsqueue retry 6f1c --failed"
    )


def run(given: Namespace) -> int:
    """Say what is about to be tried, ask on a terminal, try it."""
    out = Out.of(given)
    operations = Operations(load(given.config), config_path=given.config)
    with one(operations.settings, given.operation) as (_store, operation_id):
        data = operations.get(operation_id)
    if given.failed:
        return _failed(out, operations, data, given)
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


def _failed(out: Out, operations: Operations, data: Mapping[str, Any], given: Namespace) -> int:
    """A new operation: the one that ended is history."""
    hosts = operations.failed_hosts(data["operation_id"])
    asked = {"name": data["name"], "type": data["type"], "target_systems": hosts}
    risk = risk_of(operations.settings, {**asked, "parameters": data["parameters"]})
    what = f"{safe(data['name'])} ({safe(data['type'])} on {safe(', '.join(hosts))}, {risk.value})"
    allowed(f"Ask for {what} again?", yes=given.yes, risk=risk)
    again, hosts = operations.retry_failed(data["operation_id"], reason=given.reason)
    if out.json:
        out.entry({"operation_id": again, "retry_of": data["operation_id"], "hosts": list(hosts)})
    else:
        tried = counted(len(hosts), "host")
        out.line(f"{again} tries {tried} again; `opsqueue status {again[:8]} --watch` shows how it goes")
    return 0

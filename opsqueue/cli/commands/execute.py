"""Ask for an operation, and follow it on a terminal."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from opsqueue.cli import exit_status, render
from opsqueue.cli.asking import add_request, request_of
from opsqueue.cli.commands import plan
from opsqueue.cli.confirm import allowed
from opsqueue.cli.follow import Follower
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, seconds
from opsqueue.cli.risk import risk_here
from opsqueue.cli.text import safe
from opsqueue.client import Operations
from opsqueue.settings import Settings, load


def options(parser: Parser) -> None:
    """What it takes."""
    add_request(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what it would do, as `plan` does")
    waits = parser.add_mutually_exclusive_group()
    waits.add_argument("--wait", action="store_true", help="until it has ended (the default on a terminal)")
    waits.add_argument("--no-wait", action="store_true", help="print the id and leave (the default otherwise)")
    parser.add_argument("--wait-timeout", type=seconds, metavar="SECONDS", help="wait no longer; it goes on (exit 5)")
    parser.add_argument("--yes", action="store_true", help="do not ask, not even for what is destructive")
    parser.ends(
        tuple(number for number in exit_status.MEANING),
        'opsqueue execute --name "daily-monitoring" --type "system_monitoring" '
        '--systems "web-server-1" "web-server-2" --priority "normal"',
        'opsqueue execute --name "restart-nginx" --type "service_restart" --systems "web-server-1" '
        """--parameters '{"service_name": "nginx"}' --priority "high\"""",
        "opsqueue execute --name health --type health_check --systems all --wait --output json",
    )


def run(given: Namespace) -> int:
    """Check, ask, send, and follow if wanted."""
    if given.dry_run:
        return plan.run(given)
    out = Out.of(given)
    settings = load(given.config)
    request = request_of(given)
    risk = risk_here(settings, request)
    allowed(f"{given.type} on {', '.join(given.systems)} is {risk.value}. Do it?", yes=given.yes or not risk.asks)
    operations = Operations(settings, config_path=given.config)
    wanted = not given.no_wait and (given.wait or given.wait_timeout is not None or out.terminal)
    with operations.running_system():
        operation_id = operations.submit(request, operation_id=given.operation_id, reason=given.reason)
        if wanted:
            return _followed(out, operations, operation_id, given.wait_timeout)
    if out.json:
        out.object({"operation_id": operation_id})
    else:
        out.line(operation_id)
    return exit_status.DONE


def _followed(out: Out, operations: Operations, operation_id: str, timeout: float | None) -> int:
    if not out.json:
        out.line(operation_id)
        sys.stdout.flush()
    tell = _teller(out) if out.form == "jsonl" else None
    say = note if not out.json or sys.stderr.isatty() else _silent
    try:
        data = operations.wait(operation_id, timeout, Follower(say, colour=out.colour, tell=tell))
    except KeyboardInterrupt:
        note(f"\nthe operation goes on; `opsqueue status {operation_id}` shows how it stands")
        return exit_status.INTERRUPTED
    _result(out, data, operations.settings)
    return exit_status.of(data)

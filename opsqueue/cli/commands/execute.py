"""Ask for an operation, and follow it on a terminal."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from opsqueue.cli import exit_status, render
from opsqueue.cli.asking import add_request, request_of
from opsqueue.cli.commands import plan
from opsqueue.cli.confirm import allowed, interactive
from opsqueue.cli.follow import WAITING, Follower, doing, progress
from opsqueue.cli.live import Live
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, seconds
from opsqueue.cli.risk import outlook
from opsqueue.cli.text import safe
from opsqueue.cli.verdict import verdict
from opsqueue.client import Operations
from opsqueue.embedded.redis import running
from opsqueue.errors import InvalidRequest
from opsqueue.model.names import Risk, Severity
from opsqueue.settings import load


def options(parser: Parser) -> None:
    """What it takes."""
    add_request(parser)
    add_following(parser)
    parser.ends(
        tuple(exit_status.MEANING),
        'opsqueue execute --name "daily-monitoring" --type "system_monitoring" '
        '--systems "web-server-1" "web-server-2" --priority "normal"',
        'opsqueue execute --name "restart-nginx" --type "service_restart" --systems "web-server-1" '
        """--parameters '{"service_name": "nginx"}' --priority "high\"""",
        "opsqueue execute --name health --type health_check --systems all --wait --output json",
        "opsqueue execute --name health --type health_check --systems all --fail-on critical",
    )


def add_following(parser: Parser) -> None:
    """Whether it is only shown, asked about, and waited for."""
    parser.add_argument("--dry-run", action="store_true", help="print what it would do, as `plan` does")
    waits = parser.add_mutually_exclusive_group()
    waits.add_argument("--wait", action="store_true", help="until it has ended (the default on a terminal)")
    waits.add_argument("--no-wait", action="store_true", help="print the id and leave (the default otherwise)")
    parser.add_argument("--wait-timeout", type=seconds, metavar="SECONDS", help="wait no longer; it goes on (exit 5)")
    parser.add_argument(
        "--fail-on",
        choices=[Severity.CRITICAL.value, Severity.WARNING.value],
        help="wait, and end with 3 when a finding is of this severity or worse",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask, not even for what is destructive")


def run(given: Namespace) -> int:
    """Check, ask if it is destructive, send, and follow if wanted."""
    return carried_out(given, request_of(given))


def carried_out(given: Namespace, request: dict[str, Any]) -> int:
    """Check a request, ask if it is destructive, send it, and follow it if wanted."""
    if given.dry_run:
        return plan.shown(given, request)
    if given.fail_on and given.no_wait:
        raise InvalidRequest("--fail-on waits for the findings, and --no-wait does not: give one of them")
    out = Out.of(given)
    operations = Operations(load(given.config), config_path=given.config)
    ahead = outlook(operations.settings, request)
    for doubt in ahead.doubts:
        note(safe(doubt))
    if ahead.risk is Risk.DESTRUCTIVE:
        _confirmed(out, operations, request, yes=given.yes)
    operation_id = given.operation_id or str(uuid4())
    try:
        return _sent(out, operations, request, operation_id, given)
    except KeyboardInterrupt:
        note(
            f"\nthe operation goes on, as long as a worker runs (`opsqueue up`); "
            f"`opsqueue status {operation_id[:8]}` shows how it stands"
        )
        return exit_status.INTERRUPTED


def _confirmed(out: Out, operations: Operations, request: Mapping[str, Any], *, yes: bool) -> None:
    if not yes and interactive() and not out.json:
        render.plan(out, operations.plan(request))
    question = f"{request['type']} on {', '.join(request['target_systems'])} is destructive. Do it?"
    allowed(question, yes=yes, risk=Risk.DESTRUCTIVE)


def _sent(out: Out, operations: Operations, request: Mapping[str, Any], operation_id: str, given: Namespace) -> int:
    follows = given.wait or given.fail_on or given.wait_timeout is not None or (out.terminal and not given.no_wait)
    # The embedded system ends when nobody needs it; here somebody does, until the operation has ended.
    with Live.on_stderr(wanted=not out.json) as live:
        live.now(WAITING if _runs(operations) else "starting the embedded system …")
        with operations.running_system():
            live.now(WAITING)
            operations.submit(request, operation_id=operation_id, reason=given.reason)
            live.now("")
            if not follows and out.json:
                out.entry({"operation_id": operation_id})
            elif not out.json:
                out.line(operation_id)
                sys.stdout.flush()
            return _followed(out, operations, operation_id, given, live) if follows else exit_status.DONE


def _runs(operations: Operations) -> bool:
    settings = operations.settings
    return settings.broker_url is not None or running(settings.state_dir / "redis")


def _followed(out: Out, operations: Operations, operation_id: str, given: Namespace, live: Live) -> int:
    follower = _follower(out)

    def changed(data: Mapping[str, Any]) -> None:
        live.above(lambda: follower(data))
        live.now(doing(data))

    data = operations.wait(
        operation_id, given.wait_timeout, changed, lambda counts: live.more(progress(counts)) if live.on else None
    )
    live.now("")
    if out.json:
        out.entry(data)
    else:
        result(out, data, operations.settings.log_dir)
    return exit_status.of(data, given.fail_on)


def _follower(out: Out) -> Follower:
    people = sys.stderr.isatty()
    return Follower(
        say=note if people or not out.json else _silent,
        colour=out.colour and people,
        tell=out.entry if out.form == "jsonl" else None,
    )


def _silent(_line: str) -> None:
    """A program reads the result; nobody reads the way to it."""


def result(out: Out, data: Mapping[str, Any], log_dir: Path) -> None:
    """What came of it; how it ended stands in the last line."""
    render.result(out, data)
    sys.stdout.flush()
    note(f"\nthe whole story: `opsqueue show {render.short(data['operation_id'])}`; log: {log_dir}")
    out.line(f"\n{verdict(out, data)}")  # last, where people look

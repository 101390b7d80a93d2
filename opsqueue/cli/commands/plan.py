"""The first half of `execute`: hosts, exact commands, gate verdicts, digest; nothing is sent or recorded."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from opsqueue.cli import exit_status, render
from opsqueue.cli.asking import add_request, request_of
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser
from opsqueue.cli.text import safe
from opsqueue.client import Operations
from opsqueue.settings import load


def options(parser: Parser) -> None:
    """What it takes."""
    add_request(parser)
    parser.ends(
        (0, 2, 3, 4, 9, 10, 12),
        "opsqueue plan --name restart-nginx --type service_restart --systems web-server-1 "
        """--parameters '{"service_name": "nginx"}'""",
    )


def run(given: Namespace) -> int:
    """Print the plan; 4 if a gate would deny it, 3 if it cannot be done, 0 if it could go on or would wait."""
    return shown(given, request_of(given))


def shown(given: Namespace, request: Mapping[str, Any]) -> int:
    """Print what this request would do."""
    out = Out.of(given)
    data = Operations(load(given.config), config_path=given.config).plan(request)
    for doubt in data["doubts"]:
        note(safe(doubt))
    if out.json:
        out.entry(data)
    else:
        render.plan(out, data)
    return exit_status.of_plan(data)

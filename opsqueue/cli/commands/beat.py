"""Beat alone, for real deployments; any number may run, each slot is submitted once."""

from __future__ import annotations

from argparse import Namespace

from opsqueue.cli.parsing import Parser
from opsqueue.settings import load
from opsqueue.tasks import parts


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 11, 12), "opsqueue beat")


def run(given: Namespace) -> int:
    """Run until it is told to end."""
    return parts.beat(load(given.config), config=given.config)

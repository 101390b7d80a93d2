"""Flower alone, for real deployments; it shows the tasks and changes nothing."""

from __future__ import annotations

from argparse import Namespace

from opsqueue.cli.parsing import Parser
from opsqueue.settings import load
from opsqueue.tasks import parts


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 11), "opsqueue flower")


def run(given: Namespace) -> int:
    """Run until it is told to end."""
    return parts.flower(load(given.config), config=given.config)

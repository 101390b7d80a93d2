"""The whole system on this machine, in the foreground: Redis, workers, Beat, Flower."""

from __future__ import annotations

from argparse import Namespace

from opsqueue.cli.parsing import Parser
from opsqueue.settings import load
from opsqueue.tasks import parts


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("--no-flower", action="store_true", help="without Flower, and without the events it needs")
    parser.ends((0, 2, 11, 12), "opsqueue up", "opsqueue up --no-flower --config /etc/opsqueue/opsqueue.json")


def run(given: Namespace) -> int:
    """Run until Ctrl-C, which ends all of it."""
    return parts.up(load(given.config), config=given.config, events=not given.no_flower)

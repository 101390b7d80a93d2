"""Workers alone, for real deployments; each also looks for what is due."""

from __future__ import annotations

from argparse import Namespace

from opsqueue.cli.parsing import Parser
from opsqueue.settings import load
from opsqueue.tasks import parts
from opsqueue.tasks.broker import QUEUES


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("--name", help="its name in the record and in Flower (default: a new one each time)")
    parser.add_argument(
        "--queues", nargs="+", choices=QUEUES, metavar="QUEUE", help=f"only these of: {', '.join(QUEUES)}"
    )
    parser.ends((0, 2, 11, 12), "opsqueue worker", "opsqueue worker --name spare --queues critical high")


def run(given: Namespace) -> int:
    """Run until it is told to end."""
    return parts.worker(load(given.config), config=given.config, name=given.name, queues=given.queues)

"""Workers alone, for real deployments; each also looks for what is due."""

from __future__ import annotations

from argparse import Namespace

from opsqueue.cli.inventory import known
from opsqueue.cli.parsing import Parser
from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.errors import InvalidRequest
from opsqueue.settings import load
from opsqueue.tasks import parts
from opsqueue.tasks.broker import QUEUES


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("--name", help="its name in the record and in Flower (default: a new one each time)")
    parser.add_argument(
        "--queues", nargs="+", choices=QUEUES, metavar="QUEUE", help=f"only these of: {', '.join(QUEUES)}"
    )
    parser.add_argument(
        "--host", metavar="NAME", help="the own worker of this host of the inventory: it takes what is to be done here"
    )
    parser.ends(
        (0, 2, 9, 10, 11, 12),
        "opsqueue worker",
        "opsqueue worker --name spare --queues critical high",
        "opsqueue worker --host web-server-1",
    )


def run(given: Namespace) -> int:
    """Run until it is told to end."""
    if given.host is not None:
        return _of_host(given)
    return parts.worker(load(given.config), config=given.config, name=given.name, queues=given.queues)


def _of_host(given: Namespace) -> int:
    if given.queues or given.name:
        raise InvalidRequest("--host goes without --queues and --name: a host's own worker has a queue of its own")
    settings = load(given.config)
    host = known(read_inventory(settings), given.host)
    if host.connector != "worker":
        raise InvalidRequest(
            f"{host.name} is reached by {host.connector!r}, so nobody would send anything to a worker of its own; "
            f'write "connector": "worker" for it in the configuration'
        )
    return parts.host_worker(settings, host.name, config=given.config)

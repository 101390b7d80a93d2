"""A Celery worker: `python -m opsqueue.tasks worker NAME QUEUES PROCESSES [--host NAME --seat ID]`."""

from __future__ import annotations

import argparse
import socket
import warnings
from collections.abc import Sequence

from celery.exceptions import SecurityWarning

import opsqueue.connectors.probes.http  # noqa: F401 - loaded before the fork, and shared by all processes
from opsqueue import telemetry
from opsqueue.settings import load
from opsqueue.tasks import transport
from opsqueue.tasks.app import make_app, queue_named
from opsqueue.tasks.broker import QUEUES
from opsqueue.tasks.stages import Hands, register
from opsqueue.tasks.taken import place
from opsqueue.tasks.voice import speak

# As root on purpose: it restarts services. Celery's worry is about pickles, and we take none.
warnings.filterwarnings("ignore", category=SecurityWarning)


def main(words: Sequence[str]) -> int:
    """Work until told to stop; the exit status of the Celery worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("queues")
    parser.add_argument("processes", type=int)
    parser.add_argument("--config")
    parser.add_argument("--host", default="")
    parser.add_argument("--seat", default="")
    parser.add_argument("--events", action="store_true")
    given = parser.parse_args(words)
    settings = load(given.config)
    telemetry.configure(settings.log_dir, form=settings.logging.format, level=settings.logging.level)
    speak(settings, given.name)
    transport.install()
    app = make_app(settings, events=given.events)
    app.conf.opsqueue_taken = str(place(settings, given.name))
    hands = Hands(settings, app, given.name, given.host, given.seat)
    # Read before the fork: a process that forks after a file was spoilt has the last good one all the same.
    if any(host.connector == "ssh" for host in hands.directory.now().values()):
        # Loaded once and shared by all processes; else the first operation of each pays for it.
        import opsqueue.connectors.ssh.ways  # noqa: F401, PLC0415
    register(app, hands)
    queues = given.queues.split(",")
    for name in set(queues) - set(QUEUES):
        app.amqp.queues.add(queue_named(name))
    worker = app.Worker(
        hostname=f"{given.name}@{socket.gethostname()}",
        queues=queues,
        concurrency=given.processes,
        pool="prefork",
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,  # workers tell each other nothing: the record does
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)

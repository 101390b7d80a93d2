"""The world for commands that change the record: freeze and lift."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opsqueue.cli.record import needed
from opsqueue.embedded.redis import running
from opsqueue.model.record import Operation
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.world import World
from opsqueue.settings import Settings
from opsqueue.tasks.client import Sender


@contextmanager
def acting(settings: Settings) -> Iterator[World]:
    """A world whose nudges go to the broker, if there is one; else the reconciler finds what is due."""

    def dispatch(operation: Operation) -> None:
        if settings.broker_url is not None or running(settings.state_dir / "redis"):
            Sender(settings).dispatch(operation)

    with needed(settings):
        world = assemble(settings, dispatch=dispatch, worker="cli")
        try:
            yield world
        finally:
            world.store.close()

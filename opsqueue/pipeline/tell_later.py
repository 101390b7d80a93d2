"""The one place through which alerts have something told: into the outbox, in the caller's own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opsqueue.notify.message import Message
from opsqueue.pipeline.telling import enqueue
from opsqueue.pipeline.world import World
from opsqueue.store.engine import Connection


def tell_later(tx: Connection, world: World, message: Message, *, event_id: str, channels: Sequence[str]) -> None:
    """Have a message told to these channels, once for each event; none: `default_channels`."""
    # Groups decide what is told again: two messages that look the same are two all the same.
    told = replace(message, at=world.now(), alike=event_id)
    enqueue(tx, world, told, event_id=event_id, channels=channels)

"""The one place through which alerts have something told: into the outbox, in the caller's own transaction."""

from __future__ import annotations

from collections.abc import Sequence

from opsqueue.notify.message import Message
from opsqueue.pipeline.telling import enqueue
from opsqueue.pipeline.world import World
from opsqueue.store.engine import Connection


def tell_later(tx: Connection, world: World, message: Message, *, event_id: str, channels: Sequence[str]) -> None:
    """Have a message told to these channels, once for each event; none: `default_channels`."""
    enqueue(tx, world, message, event_id=event_id, channels=channels)

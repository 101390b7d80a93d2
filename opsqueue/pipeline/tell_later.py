"""The one place through which alerts have something told: into the outbox, in the caller's own transaction."""

from __future__ import annotations

from collections.abc import Sequence

from opsqueue.model.record import Event
from opsqueue.notify.message import Message
from opsqueue.pipeline.world import World
from opsqueue.store import events
from opsqueue.store.engine import Connection

TOLD = "alert_message"


def tell_later(tx: Connection, world: World, message: Message, *, event_id: str, channels: Sequence[str]) -> None:
    """Have a message told to these channels, once for each event; none: `default_channels`.

    Until there is an outbox for messages that belong to no operation, they are written into the history.
    """
    names = tuple(dict.fromkeys(channels or world.settings.default_channels or ("log",)))
    data = {
        "event_id": event_id,
        "channels": names,
        "body": message.body,
        "severity": message.severity.value,
        "payload": message.payload,
    }
    line = Event(operation_id=None, at=world.now(), kind=TOLD, message=message.title, data=data)
    events.append(tx, [line])

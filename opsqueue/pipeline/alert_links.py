"""Links in messages by which alerts are acknowledged without a shell: made as a message goes out, and honoured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from opsqueue.alerts.escalation import acknowledge
from opsqueue.alerts.state import Step
from opsqueue.errors import Conflict, InvalidConfig, NotFound
from opsqueue.model.alert import Alert
from opsqueue.model.names import Severity
from opsqueue.model.record import LESS
from opsqueue.notify.ack_link import LEAST_KEY, PATH, Claim, to_acknowledge, token, with_link
from opsqueue.notify.message import Message
from opsqueue.notify.text import one_line
from opsqueue.pipeline.alert_people import change_one
from opsqueue.settings import Settings
from opsqueue.store import alerts, tellings
from opsqueue.store.engine import Connection, Store

_MOST_ACTOR = 200


@dataclass(frozen=True, slots=True)
class Linked:
    """The alerts of a message whose link was opened."""

    title: str
    firing: tuple[Alert, ...]
    """Those of its incidents that still fire."""
    over: int
    """How many do not."""
    more: int
    """How many it did not name: they are too many for one message."""

    def open(self, now: float) -> tuple[Alert, ...]:
        """Those that nobody looks after."""
        return tuple(alert for alert in self.firing if not alert.acked(now))


def ack_key(settings: Settings) -> str:
    """What signs the links; empty: there are none. InvalidConfig where it cannot be read, or is too short."""
    ref = settings.alerts.ack_key
    if ref is None:
        return ""
    key = ref.resolve().strip()
    if len(key) < LEAST_KEY:
        raise InvalidConfig(
            f"alerts.ack_key: the secret {ref.ref} must have at least {LEAST_KEY} characters: "
            "`openssl rand -hex 32` makes one"
        )
    return key


def linked(
    settings: Settings, message: Message, *, event: str, recipient: str, now: float, parts: int
) -> tuple[Message, str]:
    """The message with its link where it has one, and why it has none where it should."""
    if settings.alerts.ack_url is None or not to_acknowledge(message.payload):
        return message, ""
    try:
        key = ack_key(settings)
    except InvalidConfig as error:  # who is told without a link is told
        return message, f"{LESS} a link to acknowledge: {error.message}"
    claim = Claim(event, recipient, int(now) + settings.alerts.ack_link_s)
    url = f"{settings.alerts.ack_url}{PATH}?t={quote(token(claim, key), safe='')}"
    return with_link(message, url, parts), ""


def of_message(connection: Connection, event: str) -> Linked:
    """How the alerts stand that this message named; NotFound when it was forgotten."""
    if not tellings.of(connection, event):
        raise NotFound("the message of this link is not in the record any more")
    kept: Mapping[str, Any] = tellings.message(connection, event)
    named = to_acknowledge(kept["payload"])
    firing = _firing(connection, named)
    more = int(kept["payload"].get("alerts_total", 0)) - len(kept["payload"]["alerts"])
    return Linked(kept["title"], firing, len(named) - len(firing), max(more, 0))


def ack_message(store: Store, event: str, *, recipient: str, now: float) -> Linked:
    """Acknowledge what this message named, still fires, and nobody looks after; NotFound when it was forgotten."""
    by = f"link:{one_line(recipient, _MOST_ACTOR)}"
    with store.read() as connection:
        found = of_message(connection, event).open(now)
    for alert in found:  # each by itself: who writes several in another order must not wait for us, and we for them
        with suppress(Conflict, NotFound), store.begin() as tx:  # it ended at this moment
            change_one(tx, alert.incident, lambda seen: _unless_known(seen, by, now))
    with store.read() as connection:
        return of_message(connection, event)


def _unless_known(alert: Alert, by: str, now: float) -> Step:
    """Acknowledged, unless somebody was quicker."""
    if alert.acked(now):
        return Step(alert)
    known, line = acknowledge(alert, by=by, now=now)
    return Step(known, (line,))


def _firing(connection: Connection, incidents: Sequence[str]) -> tuple[Alert, ...]:
    found = alerts.of_incidents(connection, set(incidents))
    return tuple(sorted((one for one in found if one.firing), key=_worst_first))


def _worst_first(alert: Alert) -> tuple[int, str, str, str]:
    return (-[*Severity].index(alert.severity), alert.called, alert.host, alert.fingerprint)

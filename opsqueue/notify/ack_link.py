"""The link in a message by which whoever got it says that they look after its alerts: signed, for a time. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from opsqueue.notify.message import MOST_BODY, MOST_SHORT, Message
from opsqueue.notify.sms import cost
from opsqueue.notify.text import one_line, shorten

PATH = "/ack"
LEAST_KEY = 16
"""Characters."""
MOST_TOKEN = 2000
"""Characters; ours have some 200."""
_USE = b"opsqueue ack 1."
"""So that what the same key signs elsewhere is no link."""
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})")
_TELLS = 40
"""Letters of a title that stay beside the link on a telephone."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a link says."""

    event: str
    """The message; what it names is acknowledged."""
    recipient: str
    until: int
    """UNIX seconds."""


def token(claim: Claim, key: str) -> str:
    """The claim and its signature, for a URL."""
    said = json.dumps([claim.event, claim.recipient, claim.until], separators=(",", ":")).encode()
    body = _text(said)
    return f"{body}.{_signature(body, key)}"


def opened(text: str, key: str) -> Claim | None:
    """The claim of a token that was signed with this key; None: it was not. Whether its time is over is not asked."""
    found = _FORM.fullmatch(text) if len(text) <= MOST_TOKEN else None
    if found is None or not hmac.compare_digest(found[2], _signature(found[1], key)):
        return None
    event, recipient, until = json.loads(base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4)))
    return Claim(event, recipient, until)


def to_acknowledge(payload: Mapping[str, Any]) -> list[str]:
    """The incidents that a message says to go on, and so can be acknowledged; none in a message about other things."""
    said = payload.get("alerts")
    alerts = said if isinstance(said, list | tuple) else ()
    return [one["incident"] for one in alerts if one.get("incident") and one.get("status") != "resolved"]


def with_link(message: Message, url: str, parts: int) -> Message:
    """The message with this link at its end, which stays whole where a medium cuts; `parts`: what an SMS may cost."""
    line = f"Acknowledge: {url}"
    title = one_line(message.title, MOST_SHORT)
    room = cost(f"{'x' * _TELLS} {url}").parts <= parts
    return replace(
        message,
        body=shorten(f"{message.body}\n{line}", MOST_BODY),
        short=f"{title} {url}" if room else message.short,
        payload={**message.payload, "ack_url": url},
    )


def _signature(body: str, key: str) -> str:
    return _text(hmac.new(key.encode(), _USE + body.encode(), hashlib.sha256).digest())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

"""Send one message down one channel and say what the next hop answered; never raises.

Nothing is tried twice in here: the delivery record owns the attempts (`retry_after`, `MOST_ATTEMPTS`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from opsqueue.model.names import Severity
from opsqueue.notify.address import is_web, mask
from opsqueue.notify.alertmanager import alerts_of, is_alertmanager
from opsqueue.notify.channels import LOG_URL, Channel
from opsqueue.notify.message import Message
from opsqueue.notify.receipt import ACCEPTED, LONGEST_TRY, MOST_ATTEMPTS, Receipt, refused, retry_after
from opsqueue.notify.text import one_line
from opsqueue.notify.webhook import post

__all__ = ["MOST_ATTEMPTS", "Receipt", "retry_after", "send"]

_LOG = logging.getLogger("opsqueue.notify")
_LEVEL = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}
_MOST_ERROR = 400


def send(channel: Channel, message: Message, *, event_id: str, timeout: float = LONGEST_TRY) -> Receipt:
    """Hand the message to the next hop, in at most about `timeout` seconds; `accepted` is not `read`.

    A channel with several recipients is sent to all at once and is accepted only when all are; a retry
    would reach all again. `channel.apart()` gives each recipient a receipt of its own instead.
    """
    if not channel.urls:
        return refused(f"channel {channel.name!r} has no address", permanent=True)
    if len(channel.urls) == 1:
        return _safely(channel, channel.urls[0], message, event_id, timeout)
    with ThreadPoolExecutor(len(channel.urls), thread_name_prefix="notify") as pool:
        receipts = pool.map(lambda url: _safely(channel, url, message, event_id, timeout), channel.urls)
        return _together(channel, list(receipts))


def _safely(channel: Channel, url: str, message: Message, event_id: str, timeout: float) -> Receipt:
    try:
        receipt = _one(channel, url, message, event_id, timeout)
    except Exception as error:  # noqa: BLE001 - whatever a service's plugin raises, the operation must be able to close
        receipt = refused(f"{type(error).__name__}: {error}")
    return replace(receipt, error=one_line(mask(receipt.error, url), _MOST_ERROR))


def _one(channel: Channel, url: str, message: Message, event_id: str, timeout: float) -> Receipt:
    if url == LOG_URL:
        _LOG.log(_LEVEL[message.severity], "%s (event %s)", message.title, one_line(event_id))
        return ACCEPTED
    if is_web(url) and channel.name == "webhook":
        return _posted(channel, url, message, event_id, timeout)
    # Apprise takes 0.1 s to import and 0.2 s to find its services: `opsqueue history` has 0.4 s for everything.
    from opsqueue.notify import by_apprise  # noqa: PLC0415 - measured start-up time, see above

    if is_web(url) and not by_apprise.knows(url):
        return _posted(channel, url, message, event_id, timeout)
    parts = channel.parts if channel.sms else 0
    return by_apprise.deliver(url, message, sms_parts=parts, event_id=event_id, timeout=timeout)


def _posted(channel: Channel, url: str, message: Message, event_id: str, timeout: float) -> Receipt:
    key, private = channel.signing_key, channel.private
    if is_alertmanager(url):
        alerts = alerts_of(message.payload, time.time() if message.at is None else message.at)
        if not alerts:
            return refused("this message is no alert, and an Alertmanager takes nothing else", permanent=True)
        return post(url, alerts, event_id=event_id, timeout=timeout, key=key, private=private)
    return post(url, message.payload, event_id=event_id, timeout=timeout, key=key, private=private)


def _together(channel: Channel, receipts: Sequence[Receipt]) -> Receipt:
    names = channel.recipients or tuple(f"recipient {number}" for number in range(1, len(receipts) + 1))
    missed = [(name, receipt) for name, receipt in zip(names, receipts, strict=True) if receipt.error]
    if not missed:
        return ACCEPTED
    said = "; ".join(f"{name}: {receipt.error}" for name, receipt in missed)
    return refused(
        one_line(f"{len(missed)} of {len(receipts)} recipients not reached: {said}", _MOST_ERROR),
        permanent=all(receipt.permanent for _, receipt in missed),
        wait=max(receipt.wait for _, receipt in missed),
    )

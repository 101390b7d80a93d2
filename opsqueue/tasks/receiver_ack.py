"""The page behind a link to acknowledge: it shows what the message named, and its button acknowledges that.

Looking changes nothing: programs that scan mail follow its links. Whether a link is ours is judged before anything
else is done, and nothing of it is written to a log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from html import escape
from http import HTTPStatus
from urllib.parse import parse_qs

from opsqueue.errors import NotFound
from opsqueue.model.alert import Alert
from opsqueue.model.instant import utc_text
from opsqueue.notify.ack_link import Claim, opened
from opsqueue.notify.text import one_line
from opsqueue.pipeline.alert_links import Linked, ack_message, of_message
from opsqueue.store.engine import Store
from opsqueue.tasks.receiver_http import Answer

_log = logging.getLogger("opsqueue.alerts")
_MOST_SHOWN = 200
"""As many as a message names: nothing is acknowledged that was not shown."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    # Chrome asks for `form-action` of the page too; nothing else is loaded, run or framed.
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}
_BY_HAND = "Use `opsqueue alerts ack`, or the link of a newer message."


class Links:
    """Judges links, and does what they are for."""

    def __init__(self, key: str, record: Callable[[], Store], now: Callable[[], float] = time.time) -> None:
        self._key, self._record, self._now = key, record, now

    def judged(self, query: str) -> Claim | Answer:
        """What the link says, or why it is none. The record is not asked."""
        try:
            given = parse_qs(query, max_num_fields=10, errors="replace").get("t", [""])[0]
        except ValueError:
            given = ""
        claim = opened(given, self._key)
        if claim is None:
            why = "This link is not whole, was changed, or was made with another key."
            return _refused(HTTPStatus.FORBIDDEN, f"{why} {_BY_HAND}")
        if self._now() >= claim.until:
            return _refused(HTTPStatus.GONE, f"This link was good until {utc_text(claim.until)}. {_BY_HAND}")
        return claim

    def answer(self, claim: Claim, *, acknowledge: bool) -> Answer:
        """The page, or what came of its button."""
        try:
            store = self._record()
            with store.read() as connection:
                found = of_message(connection, claim.event)
            if acknowledge and found.open(self._now()):
                return self._acknowledged(store, claim)
            return self._shown(found)
        except NotFound as error:
            return _refused(HTTPStatus.NOT_FOUND, f"{error.message[:1].upper()}{error.message[1:]}. {_BY_HAND}")

    def _acknowledged(self, store: Store, claim: Claim) -> Answer:
        after = ack_message(store, claim.event, recipient=claim.recipient, now=self._now())
        _log.info("acknowledged by a link: %s, by %s", claim.event, one_line(claim.recipient))
        if after.open(self._now()):  # one of them kept changing
            return self._shown(after)
        return self._page("Acknowledged: nobody else is called for now.", after) if after.firing else _over()

    def _shown(self, found: Linked) -> Answer:
        if not found.firing:
            return _over()
        if not found.open(self._now()):
            return self._page("This is acknowledged already.", found)
        button = '<form method="post"><button type="submit">Acknowledge</button></form>'
        return self._page("Press the button to say that you look after it: nobody else is called then.", found, button)

    def _page(self, said: str, found: Linked, button: str = "") -> Answer:
        lines = "".join(f"<li>{one}</li>" for one in _lines(found.firing, self._now()))
        more = [f"{found.over} of this message are over."] if found.over else []
        more += [f"{found.more} more were too many for this message: opsqueue alerts list"] if found.more else []
        rest = "".join(f"<p>{escape(one)}</p>" for one in more)
        return _answer(HTTPStatus.OK, f"<p>{escape(said)}</p><ul>{lines}</ul>{rest}{button}", said)


def _lines(firing: Iterable[Alert], now: float) -> Iterable[str]:
    shown = list(firing)
    for alert in shown[:_MOST_SHOWN]:
        part = f" ({alert.labels['part']})" if alert.labels.get("part") else ""
        where = f" on {alert.host}" if alert.host else ""
        known = f", acknowledged by {alert.acked_by} until {utc_text(alert.acked_until or now)}"
        said = f"{alert.severity.value}: {alert.called}{where}{part}{known if alert.acked(now) else ''}"
        yield escape(one_line(said, 600))
    if shown[_MOST_SHOWN:]:
        yield f"… and {len(shown) - _MOST_SHOWN} more"


def _over() -> Answer:
    return _refused(HTTPStatus.GONE, "Nothing of this message fires any more: there is nothing to acknowledge.")


def _refused(status: HTTPStatus, why: str) -> Answer:
    return _answer(status, f"<p>{escape(why)}</p>", why, "error")


def _answer(status: HTTPStatus, body: str, said: str, key: str = "said") -> Answer:
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>opsqueue: acknowledge</title>'
    )
    page = f'<!doctype html><html lang="en"><head>{head}</head><body><h1>opsqueue</h1>{body}</body></html>'
    return Answer(status, {key: said}, _HEADERS, page)

"""Messages through Apprise: one URL, one attempt, one deadline. The only module that imports it."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType

from opsqueue.model.names import Severity
from opsqueue.model.record import LESS
from opsqueue.notify.aside import aside
from opsqueue.notify.message import Message
from opsqueue.notify.receipt import ACCEPTED, Receipt, final_http, final_smtp, refused
from opsqueue.notify.sms import fitted
from opsqueue.notify.text import one_line, shorten

# Only Apprise's debug lines tell a refused mailbox (550) from a busy one (451). They also hold whole messages
# and tokens, so they are read from the result of each attempt and kept out of our own logs.
_LOG = logging.getLogger("apprise")
_LOG.setLevel(logging.DEBUG)
_LOG.propagate = False
_LOG.addHandler(logging.NullHandler())
# The library below it writes the path of each request, which is where many services have their token.
logging.getLogger("urllib3").setLevel(logging.WARNING)

# Naming the first service makes Apprise load all of them, some of which import what Python has deprecated.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    Apprise.instantiate("json://localhost")

_TAKES_HEADERS = frozenset({"mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms"})
_TYPE = {
    Severity.INFO: NotifyType.INFO,
    Severity.WARNING: NotifyType.WARNING,
    Severity.CRITICAL: NotifyType.FAILURE,
}
_SMTP = re.compile(r"Socket Exception: .*?\((\d{3}), b(['\"])(.*?)\2", re.DOTALL)
_SMTP_REFUSED = re.compile(r"was refused: (\d{3}) ()(.*)", re.DOTALL)
_HTTP = re.compile(r"\berror=(\d{3})\b")
_CALL = re.compile(r"<(?=[@!#&])|@(?=(?:everyone|here|channel|all)\b)", re.IGNORECASE)
_NO_HTML = f"{LESS} its template: that is HTML, and this way takes text"
_PROBLEMS = frozenset({"WARNING", "ERROR", "CRITICAL"})


def knows(url: str) -> bool:
    """Whether a web address is one of a service that Apprise speaks to, such as a Slack webhook."""
    return Apprise.instantiate(url) is not None


def deliver(url: str, message: Message, *, sms_parts: int, event_id: str, timeout: float) -> Receipt:
    """Send the message to one URL, once, in at most about `timeout` seconds; with `sms_parts` its short form.

    The error of the receipt may still hold pieces of the URL: whoever shows it masks it.
    """
    # Without a limit of its own Apprise works in the thread that asks, and not in its pool that all services share.
    asset = AppriseAsset(app_id="opsqueue", http_redirects=False, service_timeout=0)
    service = _service(url, event_id, timeout, asset)
    if service is None:
        return refused("Apprise cannot understand the URL: check its scheme, tokens and recipients", permanent=True)
    who, taken = str(service.service_name), list[object]()
    vars(service)["mark_delivered"] = lambda key, per_message=False: taken.append((key, per_message))
    tried = aside(_place(url), lambda: _tried(service, asset, message, sms_parts), seconds=timeout, who=who)
    if taken and tried.status != "accepted" and _is_mail(service):
        # A mail is one piece to one recipient. A server that took it and then hangs must not get it eight times.
        return replace(ACCEPTED, note="the server took it, and did not end the conversation")
    return tried


def _is_mail(service: NotifyBase) -> bool:
    return str(service.schema).startswith("mailto")


def _place(url: str) -> str:
    """Scheme, host and port."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split('[/?]', rest, maxsplit=1)[0].rpartition('@')[2]}".lower()


def _tried(service: NotifyBase, asset: AppriseAsset, message: Message, sms_parts: int) -> Receipt:
    html = _takes_html(service) and not sms_parts and bool(message.html)
    title, body = (message.title, message.html) if html else _wording(service, message, sms_parts)
    sender = Apprise(asset=asset)
    sender.add(service)
    result = sender.notify(
        title=title,
        body=body,
        notify_type=_TYPE[message.severity],
        body_format=NotifyFormat.HTML if html else NotifyFormat.TEXT,
        log_level=logging.DEBUG,
    )
    # `optional=yes` in a URL makes a failed result count as a success: only the attempt itself is believed.
    attempts = [attempt for one in result for attempt in one.attempts]
    if attempts and all(attempts):
        return replace(ACCEPTED, note="" if html or not message.html else _NO_HTML)
    return _failure(str(service.service_name), [(entry.level, entry.message) for entry in result.logs()])


def _takes_html(service: NotifyBase) -> bool:
    return _is_mail(service) and service.resolve_format(NotifyFormat.HTML) == NotifyFormat.HTML


def _service(url: str, event_id: str, timeout: float, asset: AppriseAsset) -> NotifyBase | None:
    service = Apprise.instantiate(_with_event(url, event_id), asset=asset)
    if service is None:
        return None
    # Attributes that Apprise documents for each service. The delivery record owns pauses and retries, so the
    # service keeps none of its own (e-mail would sleep 5.5 s); its sockets give up when our deadline ends.
    service.request_rate_per_sec = 0
    service.retry = 0
    service.socket_connect_timeout = min(service.socket_connect_timeout, timeout)
    service.socket_read_timeout = min(service.socket_read_timeout, timeout)
    return service


def _with_event(url: str, event_id: str) -> str:
    scheme = url.partition("://")[0].lower()
    if scheme not in _TAKES_HEADERS or not event_id:
        return url
    return f"{url}{'&' if '?' in url else '?'}+X-Opsqueue-Event={quote(one_line(event_id, 200), safe='')}"


def _wording(service: NotifyBase, message: Message, sms_parts: int) -> tuple[str, str]:
    if sms_parts:
        return "", fitted(message.short, sms_parts)
    title, body = message.title, message.body
    if service.title_maxlen <= 0:
        # This medium has no titles; Apprise would put it above the text, and count it there.
        body = f"{title}\n{body}"
        title = ""
    body = shorten(body, service.body_maxlen) if service.body_maxlen > 0 else body
    if _is_mail(service):
        return title, body
    return _uncalled(title), _uncalled(body)


def _uncalled(text: str) -> str:
    # A host or operation named `@everyone` must not ring every telephone: a zero-width space breaks the word.
    return _CALL.sub(lambda found: found.group() + "\u200b", text)


def _failure(service: str, lines: Iterable[tuple[str, str]]) -> Receipt:
    lines = list(lines)
    replies = [match for _, text in lines if (match := _SMTP.search(text) or _SMTP_REFUSED.search(text))]
    if replies:
        return refused(f"{service}: SMTP {replies[-1][1]} {replies[-1][3]}", permanent=final_smtp(int(replies[-1][1])))
    said = " ".join(text for level, text in lines if level in _PROBLEMS) or "it failed and did not say why"
    codes = [int(match[1]) for match in (_HTTP.search(text) for _, text in lines) if match]
    return refused(f"{service}: {said}", permanent=bool(codes) and final_http(codes[-1]))

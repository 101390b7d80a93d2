"""A recipient's own words for a message: its templates over the message's data, and the message as it was where not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsqueue.model.alert import OF_OTHERS
from opsqueue.model.instant import local_text, utc_text
from opsqueue.model.record import LESS
from opsqueue.notify.message import MOST_BODY, MOST_TITLE, Message
from opsqueue.notify.text import one_line, shorten
from opsqueue.settings_channels import FILE, MOST_TEMPLATE, ChannelRules

_MOST_VALUE = 1000
"""Characters of one text in the data; the body is longer."""
_MOST_SHORT = 2000
"""Of a message for a telephone, before it is fitted into its parts."""
_DEEPEST = 8
_TEST = "TEST"
NAMES = frozenset({
    "title", "body", "severity", "event", "operation", "alerts", "message", "recipient", "ack_url", "time",
})  # fmt: skip
"""What `data` has, of every message."""


def in_own_words(message: Message, rules: ChannelRules, recipient: str) -> tuple[Message, str]:
    """The message as the templates of this recipient have it, and why it is without them; empty: it is with them."""
    if rules.title_template is None and rules.body_template is None:
        return message, ""
    from opsqueue.notify.jinja import Wrong  # noqa: PLC0415 - 60 ms that only templates need

    try:
        return _worded(message, rules, recipient), ""
    except Wrong as error:
        return message, one_line(f"{LESS} its template: {error}", 400)


def problems(rules: Mapping[str, ChannelRules]) -> Iterator[str]:
    """What is wrong with the templates of rules, in words."""
    for name, given in rules.items():
        for key in ("title_template", "body_template"):
            if (source := getattr(given, key)) is not None and (why := _problem(source)):
                yield f"notification_rules.{name}.{key}: {why}"


def data(message: Message, rules: ChannelRules, recipient: str) -> dict[str, Any]:
    """What templates see: plain data, each text on one line and with nothing in it that steers its reader."""
    payload = _clean(message.payload, _DEEPEST)
    zone = local_text(message.at, rules.timezone) if rules.timezone and message.at is not None else ""
    return {
        "title": message.title,
        "body": message.body,
        "severity": message.severity.value,
        "event": payload.get("event", ""),
        "operation": payload if "operation_id" in payload else None,
        "alerts": [_named(one) for one in payload.get("alerts", []) if isinstance(one, Mapping)],
        "message": payload,
        "recipient": one_line(recipient),
        "ack_url": payload.get("ack_url", ""),
        "time": zone or ("" if message.at is None else utc_text(message.at)),
    }


def _named(alert: Mapping[str, Any]) -> dict[str, Any]:
    """An alert with what people call it."""
    labels = alert.get("labels", {})
    rule = labels.get("rule", "")
    called = labels.get("alertname", rule) if rule == OF_OTHERS else rule
    where = f" on {labels['host']}" if labels.get("host") else ""
    part = f" ({labels['part']})" if labels.get("part") else ""
    return {**alert, "name": f"{called}{where}{part}"}


def _worded(message: Message, rules: ChannelRules, recipient: str) -> Message:
    seen = data(message, rules, recipient)
    title = _title(message, rules, seen)
    if rules.body_template is None:
        return replace(message, title=title)
    text = _filled(rules.body_template, seen, html=rules.template_format == "html")
    if message.payload.get("test"):  # nobody is to take it for real, whichever of the two a medium shows
        title, text = (one if _TEST in one else f"{_TEST}: {one}" for one in (title, text))
    if rules.template_format == "html":
        return replace(message, title=title, html=text)
    return replace(
        message, title=title, body=shorten(text, MOST_BODY), short=one_line(" ".join(text.split()), _MOST_SHORT)
    )


def _title(message: Message, rules: ChannelRules, seen: Mapping[str, Any]) -> str:
    if rules.title_template is None:
        return message.title
    return one_line(" ".join(_filled(rules.title_template, seen).split()), MOST_TITLE)


def _filled(source: str, seen: Mapping[str, Any], *, html: bool = False) -> str:
    from opsqueue.notify.jinja import Wrong, rendered  # noqa: PLC0415 - likewise

    # A template can spell half of a pair, which nothing can send.
    found = rendered(_text(source), seen, html=html).strip().encode(errors="replace").decode()
    if not found:
        raise Wrong("it gives nothing")
    return found


def _problem(source: str) -> str:
    from opsqueue.notify.jinja import Wrong, problem, strangers  # noqa: PLC0415 - likewise

    try:
        text = _text(source)
        return problem(text) or strangers(text, NAMES)
    except Wrong as error:
        return str(error)


def _text(source: str) -> str:
    """The template itself, read now where it stands in a file; Wrong."""
    from opsqueue.notify.jinja import Wrong  # noqa: PLC0415 - likewise

    if not source.startswith(FILE):
        return source
    path = Path(source.removeprefix(FILE))
    try:  # to look may fail as well: in a directory that is not ours to enter
        if path.exists() and not path.is_file():  # out of a pipe nothing might come, ever
            raise Wrong(f"{path} is no file")
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_TEMPLATE + 1)
    except (OSError, ValueError) as error:
        raise Wrong(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8'}") from None
    if len(text) > MOST_TEMPLATE:
        raise Wrong(f"{path} has more than {MOST_TEMPLATE} characters")
    return text


def _clean(value: Any, deeper: int) -> Any:
    if isinstance(value, Mapping):
        return {one_line(key): _clean(one, deeper - 1) for key, one in value.items()} if deeper else {}
    if isinstance(value, list | tuple):
        return [_clean(one, deeper - 1) for one in value] if deeper else []
    return value if value is None or isinstance(value, bool | int | float) else one_line(value, _MOST_VALUE)

"""What people and other systems are told of alerts: pure text and JSON; nothing from outside breaks a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from opsqueue.model.alert import Alert, Notice
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.instant import utc_text
from opsqueue.model.names import Severity
from opsqueue.notify.message import MOST_BODY, MOST_SHORT, MOST_TITLE, Message
from opsqueue.notify.text import one_line, shorten

MOST_SHOWN = 20
"""Of each state, so many alerts are told with their lines."""
_MOST_PAYLOAD = 200
_MOST_BYTES = 500_000
"""Of the alerts in a payload; common receivers take a mebibyte."""
_WORDS = {
    "new": "",
    "changed": "",
    "worse": "worse: ",
    "resolved": "",
    "repeat": "still: ",
}

GROUP = "alerts"
"""What the message of a group calls itself in its payload."""


def of_group(notice: Notice, rules: Mapping[str, AlertRule], repairs: Mapping[str, str] | None = None) -> Message:
    """The message of a group: what fires, what flaps, what is over; `repairs`: why none comes now, by fingerprint."""
    heads = [*notice.firing, *notice.flapping]
    severity = _worst(heads) if heads else Severity.INFO
    counts = [
        (len(notice.firing), "firing"),
        (len(notice.flapping), "flapping"),
        (len(notice.resolved), "resolved"),
    ]
    said = ", ".join(f"{number} {word}" for number, word in counts if number)
    subject = _subject(notice)
    title = f"[opsqueue] {_WORDS[notice.why]}{subject}: {said}"
    return _message(title, _body(notice, rules, repairs or {}), severity, _payload(notice, rules, severity))


def of_one(alert: Alert, rule: AlertRule | None, what: str, lines: Sequence[str], *, event: str) -> Message:
    """A message about a single alert: an escalation, a try to mend, that no try is left."""
    title = f"[opsqueue] {what}: {_name(alert)}"
    body = [*_lines(alert, rule), *lines, "", f"Acknowledge: opsqueue alerts ack {alert.fingerprint[:12]}"]
    payload = {
        "event": event,
        "severity": alert.severity.value,
        "why": list(lines),
        "alerts": [_said(alert, rule, "firing" if alert.firing else "resolved")],
    }
    return _message(title, body, alert.severity, payload)


def _message(title: str, body: Iterable[str], severity: Severity, payload: Mapping[str, Any]) -> Message:
    return Message(
        title=one_line(title, MOST_TITLE),
        body=shorten("\n".join(body), MOST_BODY),
        severity=severity,
        payload=payload,
        short=one_line(f"{title}. opsqueue alerts list", MOST_SHORT),
    )


def _worst(alerts: Iterable[Alert]) -> Severity:
    order = list(Severity)
    return max((alert.severity for alert in alerts), key=order.index)


def _subject(notice: Notice) -> str:
    everyone = [*notice.firing, *notice.flapping, *notice.resolved]
    if len(everyone) == 1:
        return _name(everyone[0])
    named = ", ".join(f"{one_line(value, 60)}" for value in notice.group.labels.values() if value)
    return named or "alerts"


def _name(alert: Alert) -> str:
    part = f" ({one_line(alert.labels['part'], 60)})" if alert.labels.get("part") else ""
    where = f" on {one_line(alert.host, 100)}" if alert.host else ""
    return f"{one_line(alert.called, 80)}{where}{part}"


def _body(notice: Notice, rules: Mapping[str, AlertRule], repairs: Mapping[str, str]) -> Iterable[str]:
    for word, alerts in (("Firing", notice.firing), ("Flapping", notice.flapping), ("Resolved", notice.resolved)):
        if not alerts:
            continue
        yield f"{word}:"
        for alert in alerts[:MOST_SHOWN]:
            yield from _lines(alert, rules.get(alert.rule))
            if alert.fingerprint in repairs:
                yield f"    Repair: {one_line(repairs[alert.fingerprint], 300)}"
        if alerts[MOST_SHOWN:]:
            yield f"… and {len(alerts) - MOST_SHOWN} more"
        yield ""
    if len(notice.firing) == 1:
        yield f"Acknowledge: opsqueue alerts ack {notice.firing[0].fingerprint[:12]}"
    yield "More: opsqueue alerts list"


def _lines(alert: Alert, rule: AlertRule | None) -> Iterable[str]:
    beyond = f", {_beyond(alert, rule)}" if alert.value is not None else ""
    since = f" since {utc_text(alert.fired_at)}" if alert.fired_at is not None else ""
    until = f" until {utc_text(alert.resolved_at)}" if alert.resolved_at is not None else ""
    yield f"- {alert.severity.value}: {_name(alert)}{beyond}{since}{until}"
    if alert.note:
        yield f"    {one_line(alert.note, 300)}"
    if rule is None:
        return
    yield from (f"    {one_line(text, 300)}" for text in rule.annotations.values())
    if rule.runbook_url is not None:
        yield f"    Runbook: {one_line(str(rule.runbook_url), 300)}"


def _beyond(alert: Alert, rule: AlertRule | None) -> str:
    limit = f" (threshold {alert.threshold:g})" if alert.threshold is not None else ""
    name = rule.metric if rule and rule.metric else "value"
    return f"{one_line(name, 80)} {alert.value:g}{limit}"


def _payload(notice: Notice, rules: Mapping[str, AlertRule], severity: Severity) -> dict[str, Any]:
    told = [
        *(_said(alert, rules.get(alert.rule), "firing") for alert in notice.firing),
        *(_said(alert, rules.get(alert.rule), "flapping") for alert in notice.flapping),
        *(_said(alert, rules.get(alert.rule), "resolved") for alert in notice.resolved),
    ]
    return {
        "event": GROUP,
        "why": notice.why,
        "group": dict(notice.group.labels),
        "route": notice.group.route,
        "severity": severity.value,
        "alerts": _fitting(told[:_MOST_PAYLOAD]),
        "alerts_total": len(told),
    }


def _fitting(told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many of the first as receivers take, one at least: 413 would be the end of the whole message."""
    room = accumulate(len(json.dumps(one)) for one in told)
    return [one for one, size in zip(told, room, strict=True) if size <= _MOST_BYTES or one is told[0]]


def _said(alert: Alert, rule: AlertRule | None, status: str) -> dict[str, Any]:
    return {
        "status": status,
        "fingerprint": alert.fingerprint,
        "incident": alert.incident,
        "labels": alert.all_labels(),
        "annotations": dict(rule.annotations) if rule else {},
        "value": alert.value,
        "threshold": alert.threshold,
        "starts_at": None if alert.fired_at is None else utc_text(alert.fired_at),
        "ends_at": None if alert.resolved_at is None else utc_text(alert.resolved_at),
        "note": alert.note[:1000],
    }

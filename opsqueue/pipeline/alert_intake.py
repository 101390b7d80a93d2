"""Alerts of other systems: the webhook of Alertmanager, payload version 4."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from opsqueue.alerts.evaluate import judged
from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.alerts.state import Limits
from opsqueue.errors import Conflict, InvalidRequest
from opsqueue.model.alert import Alert, Observation
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.names import Severity
from opsqueue.model.request import explain, strict_json
from opsqueue.store import alerts
from opsqueue.store.engine import Connection, Store

EXTERNAL = AlertRule(name="alertmanager", finding="alertmanager", for_s=0)
"""The rule of all alerts that another system decided."""
MOST_BYTES = 1_000_000
_TRIES = 8
_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
"""What Alertmanager writes as the end of an alert that has none."""
_SEVERITIES = {
    **dict.fromkeys(("critical", "page", "error", "emergency", "alert", "fatal"), Severity.CRITICAL),
    **dict.fromkeys(("info", "none", "informational", "notice", "debug"), Severity.INFO),
}
_PORT = re.compile(r":\d{1,5}$")
_LABEL = r"^[a-zA-Z_][a-zA-Z0-9_]*$"


class _Received(BaseModel):
    # Alertmanager adds fields from version to version: what is not known is left alone.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)


class _ReceivedAlert(_Received):
    status: Literal["firing", "resolved"]
    labels: dict[str, str] = Field(min_length=1, max_length=100)
    annotations: dict[str, str] = Field(default_factory=dict, max_length=100)
    startsAt: AwareDatetime  # noqa: N815  # the name on the wire
    endsAt: AwareDatetime | None = None  # noqa: N815  # likewise


class _Payload(_Received):
    version: Literal["4"]
    alerts: tuple[_ReceivedAlert, ...] = Field(max_length=1000)
    truncatedAlerts: int = 0  # noqa: N815  # likewise


def parse(data: Any) -> tuple[Observation, ...]:
    """What an Alertmanager webhook says; InvalidRequest when it is none. Never raises anything else."""
    if isinstance(data, str | bytes):
        data = _loaded(data)
    if not isinstance(data, Mapping):
        raise InvalidRequest("the webhook of Alertmanager is a JSON object with version and alerts")
    try:
        payload = _Payload.model_validate(data)
    except ValidationError as error:
        raise InvalidRequest(explain(error, "the webhook of Alertmanager")) from None
    return tuple(_observed(one) for one in payload.alerts)


def receive(store: Store, data: Any) -> int:
    """Take a webhook into the record; the same once more changes nothing. Returns how many alerts changed.

    InvalidRequest, or Conflict when nothing was taken because others kept changing the same alerts.
    """
    seen = sorted(parse(data), key=lambda one: (fingerprint(one.labels), one.at))
    with store.begin() as tx:
        return sum(_take(tx, one) for one in seen)


def _loaded(text: str | bytes) -> Any:
    if len(text) > MOST_BYTES:
        raise InvalidRequest(f"a webhook has at most {MOST_BYTES} bytes; found {len(text)}")
    try:
        return strict_json(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the webhook is no JSON: {error}") from None


def _observed(one: _ReceivedAlert) -> Observation:
    """Its own labels name it; the moment is when it began, or ended, so that a repeat is no news."""
    labels = {name: _kept(value) for name, value in one.labels.items() if re.fullmatch(_LABEL, name)}
    severity = _SEVERITIES.get(labels.pop("severity", "").lower(), Severity.WARNING)
    host = labels.get("host") or _PORT.sub("", labels.get("instance", ""))
    given = {f"label_{name}" if name in {"rule", "nodata"} else name: value for name, value in labels.items()}
    firing = one.status == "firing"
    ended = one.endsAt if one.endsAt is not None and one.endsAt != _NEVER else one.startsAt
    note = one.annotations.get("summary") or one.annotations.get("description") or json.dumps(one.annotations)
    return Observation(
        labels={**given, "rule": EXTERNAL.name, "host": host},
        at=one.startsAt.timestamp() if firing else max(ended, one.startsAt).timestamp(),
        holds=firing,
        severity=severity,
        note=_kept(note)[:1000],
    )


def _kept(text: str) -> str:
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()[:1000]


def _take(tx: Connection, seen: Observation) -> bool:
    for _ in range(_TRIES):
        known: Alert | None = alerts.get(tx, fingerprint(seen.labels))
        change = judged(EXTERNAL, known, seen, Limits())
        if change is None:
            return False
        if alerts.save(tx, change.before, change.after, change.transitions):
            return True
    # Whoever sent it must send it again: it was not taken.
    raise Conflict("others keep changing the same alerts: send the webhook again")

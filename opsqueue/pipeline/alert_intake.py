"""Alerts of other systems: the webhook of Alertmanager, payload version 4."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.alerts.state import Limits, Step, begin, step
from opsqueue.errors import Conflict, InvalidRequest
from opsqueue.model.alert import OF_OTHERS, Alert, Observation
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.names import Severity
from opsqueue.model.request import explain, strict_json
from opsqueue.store import alerts
from opsqueue.store.engine import Connection, Store

EXTERNAL = AlertRule(name=OF_OTHERS, finding=OF_OTHERS, for_s=0)
"""The rule of all alerts that another system decided."""
MOST_BYTES = 1_000_000
MOST_ALERTS = 5000
"""Of others that may fire at once; more are refused. Of those that are over as many are remembered."""
_TRIES = 8
_SHOWN = 3
_SKEW = 120.0
"""Seconds by which the clocks of others may be ahead."""
_AHEAD = 366 * 86_400.0
"""Seconds: a sender's clock may be wrong, and its alerts count all the same; what lies further ahead is no time."""
_SEVERITIES = {
    **dict.fromkeys(("critical", "page", "error", "emergency", "alert", "fatal"), Severity.CRITICAL),
    **dict.fromkeys(("info", "none", "informational", "notice", "debug"), Severity.INFO),
}
_PORT = re.compile(r":\d{1,5}$")
_LABEL = r"^[a-zA-Z_][a-zA-Z0-9_]*$"


_Became = Literal["same", "changed", "began", "full"]


class _Received(BaseModel):
    # Alertmanager adds fields from version to version: what is not known is left alone.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)


class _ReceivedAlert(_Received):
    status: Literal["firing", "resolved"]
    labels: dict[str, str] = Field(min_length=1, max_length=100)
    annotations: dict[str, str] = Field(default_factory=dict, max_length=100)
    startsAt: AwareDatetime  # noqa: N815  # the name on the wire
    endsAt: AwareDatetime | None = None  # noqa: N815  # likewise
    fingerprint: str = Field(default="", max_length=100)


class _Payload(_Received):
    version: Literal["4"]
    alerts: tuple[_ReceivedAlert, ...] = Field(max_length=1000)
    truncatedAlerts: int = 0  # noqa: N815  # likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One alert of a webhook."""

    name: str
    """The fingerprint of its row."""
    seen: Observation
    ahead: bool
    """Whether it says of itself that it begins later than now: its moment is that of its arrival."""


def parse(data: Any, now: float) -> tuple[list[Heard], list[str]]:
    """What an Alertmanager webhook says, in the order of time, and why some of its alerts are refused.

    InvalidRequest when it is no webhook; never raises anything else.
    """
    if isinstance(data, str | bytes):
        data = _loaded(data)
    if not isinstance(data, Mapping):
        raise InvalidRequest("the webhook of Alertmanager is a JSON object with version and alerts")
    try:
        payload = _Payload.model_validate(data)
    except ValidationError as error:
        raise InvalidRequest(explain(error, "the webhook of Alertmanager")) from None
    wrong = [_no_time(one, now) for one in payload.alerts]
    refused = [f"alerts.{number}.{why}" for number, why in enumerate(wrong) if why]
    heard = [_heard(one, now) for one, why in zip(payload.alerts, wrong, strict=True) if not why]
    return _in_order(heard), refused


def receive(store: Store, data: Any, now: float | None = None) -> int:
    """Take a webhook into the record; the same once more changes nothing. Returns how many alerts changed.

    InvalidRequest when it is none, or some of its alerts are refused: then the others are taken all the same.
    Conflict when nothing was taken because others kept changing the same alerts.
    """
    now = time.time() if now is None else now
    heard, refused = parse(data, now)
    with store.begin() as tx:
        found = _take_all(tx, heard, now)
    beyond = found.count("full")
    if not refused and not beyond:
        return len(found) - found.count("same")
    full = [f"{beyond} are more than the {MOST_ALERTS} that may fire at once"] if beyond else []
    why = "; ".join([*full, *refused[:_SHOWN]])
    raise InvalidRequest(
        f"{len(refused) + beyond} of {len(heard) + len(refused)} alerts are refused, the others are taken: {why}"
    )


def _loaded(text: str | bytes) -> Any:
    if len(text) > MOST_BYTES:
        raise InvalidRequest(f"a webhook has at most {MOST_BYTES} bytes; found {len(text)}")
    try:
        return strict_json(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the webhook is no JSON: {error}") from None


# What one alert says


def _no_time(one: _ReceivedAlert, now: float) -> str:
    """Why its times cannot be; empty: they can."""
    ends = {"endsAt": one.endsAt} if one.status == "resolved" and one.endsAt and one.endsAt.year > 1 else {}
    for name, at in {"startsAt": one.startsAt, **ends}.items():
        if not 0 <= at.timestamp() <= now + _AHEAD:
            return f"{name} cannot be: wanted a time from 1970 to a year from now, found {at.isoformat()}"
    return ""


def _heard(one: _ReceivedAlert, now: float) -> Heard:
    """Its own labels, in a form that ours can stand beside; the moment is when it began, or ended."""
    labels = {name: _kept(value) for name, value in one.labels.items() if re.fullmatch(_LABEL, name)}
    severity = _SEVERITIES.get(labels.pop("severity", "").lower(), Severity.WARNING)
    host = labels.get("host") or _PORT.sub("", labels.get("instance", ""))
    given = {f"label_{name}" if name in {"rule", "nodata"} else name: value for name, value in labels.items()}
    at = _moment(one)
    ahead = at > now + _SKEW
    seen = Observation(
        labels={**given, "rule": EXTERNAL.name, "host": host},
        at=now if ahead else at,
        holds=one.status == "firing",
        severity=severity,
        note=_note(one.annotations),
    )
    return Heard(name=_name(one), seen=seen, ahead=ahead)


def _name(one: _ReceivedAlert) -> str:
    """As Alertmanager tells alerts apart: by all labels, the severity too."""
    if one.fingerprint:
        return fingerprint({"fingerprint of alertmanager": one.fingerprint})
    return fingerprint({f"label {name}": value for name, value in one.labels.items()})


def _moment(one: _ReceivedAlert) -> float:
    began = one.startsAt.timestamp()
    if one.status == "firing" or one.endsAt is None or one.endsAt.year == 1:  # so it writes "none" as an end
        return began
    return max(one.endsAt.timestamp(), began)


def _note(said: Mapping[str, str]) -> str:
    told = [text for name in ("summary", "description") if (text := said.get(name, "").strip())]
    others = (f"{name}: {text}" for name, text in sorted(said.items()) if text)
    return _kept("; ".join(dict.fromkeys(told) if told else others))


def _kept(text: str) -> str:
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()[:1000]


def _in_order(heard: Iterable[Heard]) -> list[Heard]:
    """By name, so that two who take at once wait in one direction only, then by time.

    What begins before an end of its own in the same webhook is over, in whatever order they stand there.
    """
    ordered = sorted(heard, key=lambda one: (one.name, one.seen.at, not one.seen.holds))
    ends = {one.name: one.seen.at for one in ordered if not one.seen.holds}
    return [one for one in ordered if not (one.seen.holds and one.seen.at <= ends.get(one.name, -1.0))]


# What becomes of it


def _take_all(tx: Connection, heard: Iterable[Heard], now: float) -> list[_Became]:
    room = MOST_ALERTS - alerts.number_active(tx, EXTERNAL.name)
    found: list[_Became] = []
    for one in heard:
        became = _take(tx, one, now, room=room - found.count("began"))
        found.append(became)
    return found


def _take(tx: Connection, one: Heard, now: float, *, room: int) -> _Became:
    for _ in range(_TRIES):
        known: Alert | None = alerts.get(tx, one.name)
        before = known or replace(begin(EXTERNAL, one.seen.labels), fingerprint=one.name)
        found = _step(before, one, now)
        if found is None:
            return "same"
        if room <= 0 and not before.firing:
            return "full"
        if alerts.save(tx, before, found.alert, found.transitions):
            return "changed" if before.firing else "began"
    # Whoever sent it must send it again: it was not taken.
    raise Conflict("others keep changing the same alerts: send the webhook again")


def _step(before: Alert, one: Heard, now: float) -> Step | None:
    """What an alert becomes by what is said of it; None: that is no news."""
    last = before.last_at if before.last_at is not None else -math.inf
    if not before.firing:
        return _fired(before, one.seen, last, now) if one.seen.holds else None
    if one.seen.at <= last or (one.seen.holds and one.ahead):
        return None
    at = one.seen.at if one.seen.holds else max(one.seen.at, before.fired_at or one.seen.at)
    return step(EXTERNAL, before, replace(one.seen, at=at), Limits())


def _fired(before: Alert, seen: Observation, last: float, now: float) -> Step:
    """It fires; where it began before its last end, it fires anew, from when that was heard."""
    if seen.at > last:
        return step(EXTERNAL, before, seen, Limits())
    found = step(EXTERNAL, before, replace(seen, at=max(now, math.nextafter(last, math.inf))), Limits())
    # Its next end may have been written down before this was heard, so it is measured by the last one.
    return Step(replace(found.alert, last_at=math.nextafter(last, math.inf)), found.transitions)

"""Alerts for an Alertmanager: a channel whose address ends in `/api/v2/alerts` gets its list of alerts as body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from opsqueue.model.instant import utc_text

_PATH = "/api/v2/alerts"
_LASTS = 7 * 86_400.0
"""So long Alertmanager takes an alert for firing that it hears no more of; without an end it would be five minutes."""


def is_alertmanager(url: str) -> bool:
    """Whether this is the address at which an Alertmanager takes alerts."""
    return urlsplit(url).path.rstrip("/").endswith(_PATH)


def alerts_of(payload: Mapping[str, Any], at: float) -> list[dict[str, Any]]:
    """The alerts of a message as Alertmanager takes them; none when it is about something else."""
    said = payload.get("alerts")
    return [_alert(one, at) for one in said] if isinstance(said, list | tuple) else []


def _alert(one: Mapping[str, Any], at: float) -> dict[str, Any]:
    labels = {str(name): str(value) for name, value in one["labels"].items() if value}
    notes = {**one["annotations"], **({"summary": one["note"]} if one["note"] else {})}
    if one["value"] is not None:
        notes |= {"value": f"{one['value']:g}"}
    over = one["status"] == "resolved"
    return {
        "labels": {"alertname": labels.get("rule", "opsqueue"), **labels},
        "annotations": {name: str(value) for name, value in notes.items()},
        "startsAt": one["starts_at"] or utc_text(at),
        "endsAt": (one["ends_at"] or utc_text(at)) if over else utc_text(at + _LASTS),
    }

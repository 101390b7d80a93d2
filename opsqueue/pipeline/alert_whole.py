"""All that is known of one alert: how it stands, its repair, who was told, and its history."""

from __future__ import annotations

from typing import Any

from opsqueue.errors import NotFound
from opsqueue.model.alert import Alert, Transition
from opsqueue.model.alert_rule import RunOperation
from opsqueue.pipeline.alert_desk import alert_json, ended_json, transition_json
from opsqueue.pipeline.alert_people import one_alert
from opsqueue.pipeline.alerting import rules_now
from opsqueue.pipeline.remediate import command, standing, windows_for
from opsqueue.pipeline.world import World
from opsqueue.store import alert_parts, alerts, tellings
from opsqueue.store.engine import Connection
from opsqueue.telemetry import iso

_DAY = 86_400.0
_MOST_LINES = 100
_MOST_TOLD = 50


def alert_whole(world: World, connection: Connection, beginning: str) -> dict[str, Any]:
    """The one alert whose fingerprint or incident begins so, also one that is forgotten but for its history; NotFound.

    `repair` is None where its rule runs nothing.
    """
    try:
        alert = one_alert(connection, beginning)
    except NotFound:
        lines = alerts.named(connection, beginning, _MOST_LINES) if beginning else []
        ends = [line for line in lines if line.kind == "resolved"]
        if len({line.fingerprint for line in lines}) != 1 or not ends:
            raise
        fired = next((line.at for line in lines if line.kind == "firing" and line.incident == ends[0].incident), None)
        return {**ended_json(ends[0], fired), "repair": None, **_past(connection, ends[0].incident, lines)}
    lines = alerts.history(connection, fingerprint=alert.fingerprint, limit=_MOST_LINES)
    return {
        **alert_json(alert),
        "repair": _repair(world, connection, alert),
        **_past(connection, alert.incident, lines),
    }


def _past(connection: Connection, incident: str, lines: list[Transition]) -> dict[str, Any]:
    return {"told": _told(connection, incident), "history": [transition_json(line) for line in lines]}


def _told(connection: Connection, incident: str) -> list[dict[str, Any]]:
    """The messages that name this incident, and how each recipient's stands; the newest first."""
    found = tellings.naming(connection, "alerts:", incident, 0.0, _MOST_TOLD) if incident else []
    return [
        {
            "at": iso(one["created_at"]),
            "title": one["title"],
            "channel": told.channel,
            "status": told.status,
            "note": told.error or told.note,
        }
        for one in found
        for told in tellings.of(connection, one["event"])
    ]


def _repair(world: World, connection: Connection, alert: Alert) -> dict[str, Any] | None:
    """What its rule would run, why it is or is not asked for now, and what was tried."""
    rules = rules_now(world.settings, connection)
    rule = rules.get(alert.rule)
    wanted = next((one for one in rule.actions if isinstance(one, RunOperation)), None) if rule else None
    if rule is None or wanted is None:
        return None
    now = standing(connection, world, rules, alerts.active(connection), alert)
    since = min(world.now() - _DAY, alert.fired_at or world.now())
    tries = alert_parts.attempts(connection, rule.name, alert.host, since)
    return {
        "type": wanted.type,
        "command": command(wanted, rule.name, alert.host),
        "now": now.do if now else "nothing",
        "why": now.why if now else "it does not fire",
        "policy": rule.remediation.model_dump(mode="json"),
        "windows": len(windows_for(world, rule, alert)),
        "tries": [
            {
                "number": one.number,
                "operation_id": one.operation_id,
                "state": one.state,
                "at": iso(one.at),
                "ended_at": iso(one.ended_at),
                "this_incident": one.incident == alert.incident,
            }
            for one in tries
        ],
    }

"""Alerts, rules, silences and figures as the JSON that people and programs are shown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from opsqueue.alerts.cel import names
from opsqueue.alerts.reading import fits
from opsqueue.alerts.statistics import reckon
from opsqueue.model.alert import Alert, Silence, Transition
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.misspelt import nearest
from opsqueue.pipeline.alert_intake import EXTERNAL
from opsqueue.pipeline.alert_rules import clears_at
from opsqueue.pipeline.alerting import rule_digest, rules_now
from opsqueue.settings import Settings
from opsqueue.store import alert_parts, alerts
from opsqueue.store.engine import Connection
from opsqueue.telemetry import iso

MOST_ENDED = 1000
"""Of what is over, the newest so many are listed."""


def alerts_json(connection: Connection, *, since: float | None = None) -> list[dict[str, Any]]:
    """What fires, flaps or is pending, the worst first; then the firings that ended after `since`, the latest first."""
    found = alerts.active(connection)
    order = {"critical": 0, "warning": 1, "info": 2}
    states = {"firing": 0, "pending": 1, "inactive": 2}
    found.sort(key=lambda one: (states[one.state], order[one.severity], one.fired_at or one.active_at or 0.0, one.rule))
    over = [] if since is None else alerts.ended(connection, since, MOST_ENDED)
    known = {one.incident: one for one in alerts.of_incidents(connection, {line.incident for line, _ in over})}
    gone = [ended_json(line, fired, known.get(line.incident)) for line, fired in over]
    return [*map(alert_json, found), *gone]


def ended_json(line: Transition, fired: float | None, known: Alert | None = None) -> dict[str, Any]:
    """A firing that is over, by its last line of history; `known`: the alert, where it was not forgotten yet."""
    usual = {"rule": line.rule, **({"host": line.host} if line.host else {})}
    ended = Alert(
        fingerprint=line.fingerprint,
        rule=line.rule,
        labels=known.labels if known else usual,
        severity=line.severity,
        active_at=fired,
        fired_at=fired,
        resolved_at=line.at,
        value=line.value,
        threshold=line.threshold,
        note=line.reason,
        incident=line.incident,
    )
    return {**alert_json(ended), "host": line.host or None}


def faults_json(connection: Connection) -> list[dict[str, Any]]:
    """At which alerts and groups the look of the workers fails; without a name: at all of them."""
    return [{"name": name, "error": why, "since": iso(at)} for name, (why, at) in alerts.faults(connection).items()]


def alert_json(alert: Alert) -> dict[str, Any]:
    """One alert."""
    return {
        "fingerprint": alert.fingerprint,
        "incident": alert.incident or None,
        "rule": alert.rule,
        "called": alert.called,
        "host": alert.host or None,
        "labels": dict(alert.labels),
        "severity": alert.severity.value,
        "state": alert.state.value,
        "flapping": alert.flapping,
        "value": alert.value,
        "threshold": alert.threshold,
        "note": alert.note,
        "active_at": iso(alert.active_at),
        "fired_at": iso(alert.fired_at),
        "resolved_at": iso(alert.resolved_at),
        "acknowledged_by": alert.acked_by or None,
        "acknowledged_until": iso(alert.acked_until),
        "muted_by": list(alert.muted_by),
    }


def rules_json(settings: Settings, connection: Connection, *, look_up: bool = False) -> list[dict[str, Any]]:
    """All rules by name, with where they come from and why they have no answer.

    `unknown`: no worker ever asked it as it stands here. With `look_up` also which numbers they name that no host ever
    had; it goes through the names of all series.
    """
    given = {rule.name for rule in settings.alerts.rules}
    added = {rule.name for rule in alert_parts.custom_rules(connection)}
    health, (_, asked) = alerts.health(connection), alerts.noted(connection, ())
    measured = alert_parts.measured(connection) if look_up else {}
    found = []
    for name, rule in sorted(rules_now(settings, connection).items()):
        if name == EXTERNAL.name:
            continue
        source = "added" if name in added else "configuration" if name in given else "built-in"
        errors = [{"host": host, "error": why, "at": iso(at)} for host, why, at in health.get(name, ())]
        # Before anything was measured that says nothing about a rule, and our own names are not misspelt.
        unseen = never_seen(rule, measured) if measured and source != "built-in" else []
        heard = "ok" if asked.get(name) == rule_digest(rule) else "unknown"
        stands = "error" if errors else "no data" if unseen else heard
        said = {"clears_at": clears_at(rule, measured), "health": stands, "errors": errors, "never_seen": unseen}
        found.append({**rule_json(rule, source), **said})
    return found


def never_seen(rule: AlertRule, measured: Collection[str]) -> list[dict[str, str]]:
    """The numbers that a rule names and that are not among these, with the nearest that is."""
    named = names(rule.condition) if rule.condition is not None else [rule.metric] if rule.metric is not None else []
    absent = sorted(one for one in named if not any(fits(one, metric) for metric in measured))
    return [{"name": one, "hint": nearest(one, measured, 0.7).removeprefix("; ")} for one in absent]


def rule_json(rule: AlertRule, source: str) -> dict[str, Any]:
    """One rule."""
    return {"source": source, **rule.model_dump(mode="json")}


def silences_json(connection: Connection, now: float) -> list[dict[str, Any]]:
    """The silences that stand, or are to come."""
    return [silence_json(one, now) for one in alert_parts.silences_until(connection, now)]


def silence_json(silence: Silence, now: float) -> dict[str, Any]:
    """One silence, and whether it stands now."""
    return {
        "silence_id": silence.id,
        "state": silence.state(now),
        "matchers": [[str(matcher) for matcher in one] for one in silence.matchers],
        "starts_at": iso(silence.starts_at),
        "ends_at": iso(silence.ends_at),
        "created_by": silence.created_by,
        "comment": silence.comment,
    }


def stats_json(settings: Settings, connection: Connection, *, since: float, now: float) -> dict[str, Any]:
    """The figures from `since` to now."""
    names = [rule.name for rule in rules_now(settings, connection).values() if rule.enabled and rule != EXTERNAL]
    found = reckon(alerts.history(connection, since=since, until=now), names)
    return {"since": iso(since), "until": iso(now), **asdict(found)}


def transition_json(line: Transition) -> dict[str, Any]:
    """One line of history."""
    return {**asdict(line), "at": iso(line.at), "kind": line.kind.value, "severity": line.severity.value}

"""What the desk of the record answers about one host: its alerts, rules, silences, figures, and rules over its past."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from opsqueue.alerts.evaluate import covers
from opsqueue.alerts.fingerprint import silence_id
from opsqueue.alerts.statistics import reckon
from opsqueue.errors import NotFound
from opsqueue.model.alert import Alert
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.fact import Record, unknown
from opsqueue.model.host import Host
from opsqueue.model.misspelt import nearest
from opsqueue.model.record import Operation
from opsqueue.pipeline.alert_desk import alert_json, rules_json, silence_json
from opsqueue.pipeline.alert_intake import EXTERNAL
from opsqueue.pipeline.alert_rules import configured, rule_named, wrong_with
from opsqueue.pipeline.alert_trial import Trial
from opsqueue.pipeline.alerting import rules_now
from opsqueue.pipeline.world import World
from opsqueue.store import alert_parts, alerts
from opsqueue.store.engine import Connection

_MOST_ALERTS = 500
_EVALUATED_S = 3600.0


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the record, about one host of one operation."""

    world: World
    connection: Connection
    operation: Operation
    host: Host
    now: float


def answer(look: Look, ask: Record) -> Any:
    """The answer as JSON; NotFound, InvalidRequest."""
    return _ANSWERS[ask.what](look, ask.options) if ask.what in _ANSWERS else unknown(f"nobody knows of {ask.what}")


def silence_name(operation: Operation, host: Host) -> str:
    """The id of the silence that an operation makes of a host: the same, however often it is tried."""
    return silence_id(f"of operation {operation.id} on {host.name}")


def _alerts(look: Look, options: Mapping[str, Any]) -> dict[str, Any]:
    """What is not over, and what was named, the worst first."""
    named = tuple(options.get("named", ()))
    known = alerts.of_hosts(look.connection, [look.host.name])[look.host.name].values()
    found = [one for one in known if one.active_at is not None or one.flapping or _begins(one, named)]
    order = ["firing", "pending", "inactive"]
    found.sort(key=lambda one: (order.index(one.state), one.severity != "critical", one.rule, one.fingerprint))
    shown = [_alert(one, look.now) for one in found[:_MOST_ALERTS]]
    return {
        "host": look.host.name,
        "by": look.operation.requested_by,
        "alerts": shown,
        "left_out": len(found) - len(shown),
    }


def _begins(alert: Alert, named: tuple[str, ...]) -> bool:
    return bool(named) and (alert.fingerprint.startswith(named) or alert.incident.startswith(named))


def _alert(alert: Alert, now: float) -> dict[str, Any]:
    acked = alert.firing and alert.acked(now)
    return {**alert_json(alert), "acknowledged_by": alert.acked_by if acked else None}


def _silence(look: Look, _options: Mapping[str, Any]) -> dict[str, Any]:
    """The silence of this operation."""
    name = silence_name(look.operation, look.host)
    try:
        return silence_json(alert_parts.get_silence(look.connection, name), look.now)
    except NotFound:
        return {"silence_id": name, "state": "absent"}


def _silences(look: Look, _options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that may keep quiet an alert of this host."""
    labels = {"host": look.host.name}
    standing = alert_parts.silences_until(look.connection, look.now)
    return [
        silence_json(one, look.now)
        for one in standing
        if any(all(m.matches(labels) for m in few if m.label == "host") for few in one.matchers)
    ]


def _rule(look: Look, options: Mapping[str, Any]) -> dict[str, Any]:
    """The rule of this name that was added, the wanted one, and what stands against that."""
    name, settings = options["name"], look.world.settings
    added = {one.name: one for one in alert_parts.custom_rules(look.connection)}
    wanted = AlertRule.model_validate(options["rule"]) if options.get("rule") else None
    wrong = list(wrong_with(wanted, settings, look.world.kinds)) if wanted else []
    return {
        "name": name,
        "standing": _dump(added.get(name)),
        "wanted": _dump(wanted),
        "wrong": [*wrong, *filter(None, [configured(settings, name)])],
        "hosts": len(look.world.hosts(look.operation.systems)),
        "nearest": nearest(name, added),
    }


def _dump(rule: AlertRule | None) -> dict[str, Any] | None:
    return None if rule is None else rule.model_dump(mode="json")


def _rules(look: Look, _options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules that are about this host, and why some have no answer for it."""
    every = rules_now(look.world.settings, look.connection)
    about = {name: rule for name, rule in every.items() if covers(rule, look.host)}
    return [
        {
            **{key: one[key] for key in ("name", "source", "for_s", "severity")},
            "asks": about[one["name"]].asks,
            "error": next((error["error"] for error in one["errors"] if error["host"] == look.host.name), None),
        }
        for one in rules_json(look.world.settings, look.connection)
        if one["name"] in about
    ]


def _routes(look: Look, _options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where alerts go, and who is called when nobody acknowledges."""
    usual = list(look.world.settings.default_channels)
    return [
        {
            "name": route.name,
            "match": [str(one) for one in route.match],
            "channels": list(route.channels) or usual,
            "called": [f"after {step.after_s} s: {', '.join(step.channels)}" for step in route.escalation],
        }
        for route in look.world.settings.alerts.routes
    ] or [{"name": "default", "match": [], "channels": usual, "called": []}]


def _statistics(look: Look, options: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of this host."""
    seconds, host = float(options["seconds"]), look.host.name
    rules = rules_now(look.world.settings, look.connection).values()
    about = [rule.name for rule in rules if covers(rule, look.host) and rule != EXTERNAL]
    lines = alerts.history(look.connection, since=look.now - seconds, until=look.now, host=host)
    first = alerts.first_at(look.connection)
    known = 0.0 if first is None else look.now - first
    return {**asdict(reckon(lines, about)), "seconds": seconds, "known_s": known}


def _replay(look: Look, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule would have done with this host's numbers."""
    seconds = float(options["seconds"])
    if options.get("rule"):
        rule = AlertRule.model_validate(options["rule"])
    else:
        rule = rule_named(look.world.settings, look.connection, options["name"])
    return _trial(look, rule, seconds).told()


def _trial(look: Look, rule: AlertRule, seconds: float) -> Trial:
    return Trial(world=look.world, connection=look.connection, host=look.host, rule=rule, now=look.now, seconds=seconds)


def _evaluation(look: Look, _options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each rule about this host makes of its newest numbers, beside what the record says; nothing is written."""
    known = alerts.of_hosts(look.connection, [look.host.name])[look.host.name]
    every = rules_now(look.world.settings, look.connection).values()
    rules = [rule for rule in every if rule.finding is None and covers(rule, look.host)]
    return [row for rule in rules for row in _evaluated(look, rule, known)]


def _evaluated(look: Look, rule: AlertRule, known: Mapping[str, Alert]) -> list[dict[str, Any]]:
    found = _trial(look, rule, rule.for_s + _EVALUATED_S).run()
    asked = {"rule": rule.name, "asks": rule.asks}
    if why := found.unanswered:
        return [{**asked, "state": "no answer", "why": why}]
    rows = [
        {
            **asked,
            "part": one.labels.get("part", ""),
            "state": one.state.value,
            "value": one.value,
            "stands": known[one.fingerprint].state.value if one.fingerprint in known else "inactive",
        }
        for one in found.alerts.values()
    ]
    return rows or [{**asked, "state": "inactive" if found.readings else "no numbers"}]


_ANSWERS: Mapping[str, Callable[[Look, Mapping[str, Any]], Any]] = {
    "alerts": _alerts,
    "silence": _silence,
    "silences": _silences,
    "rule": _rule,
    "rules": _rules,
    "routes": _routes,
    "statistics": _statistics,
    "replay": _replay,
    "evaluation": _evaluation,
}

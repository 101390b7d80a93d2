"""Alerts that ask for an operation: once, through all gates, and not for ever."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from opsqueue.alerts.grouping import route_of
from opsqueue.alerts.remediation import AHEAD, Fleet, decide, settle
from opsqueue.alerts.state import told
from opsqueue.errors import NotFound, OpsqueueError
from opsqueue.model.alert import Alert, Attempt, Decision, Kind
from opsqueue.model.alert_rule import AlertRule, RunOperation
from opsqueue.model.names import Outcome, Stage
from opsqueue.model.record import Operation
from opsqueue.model.request import Request, parse_request
from opsqueue.model.window import Window
from opsqueue.notify.alert_message import of_one
from opsqueue.pipeline.alert_faults import Faults
from opsqueue.pipeline.alert_people import steps_of
from opsqueue.pipeline.submit import submit
from opsqueue.pipeline.tell_later import tell_later
from opsqueue.pipeline.world import World
from opsqueue.store import alert_parts, alerts, operations
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.alerts")
_DAY = 86_400.0
#: Numbers in the table of escalation steps that no configuration reaches: each is said once for an incident.
_DONE = frozenset({Outcome.SUCCEEDED, Outcome.UNCHANGED})
_SAID = {"exhausted": 1000, "brake": 1001}


def remediate(world: World, rules: Mapping[str, AlertRule], seen: Sequence[Alert], faults: Faults) -> None:
    """See what became of earlier tries, then decide about every alert that fires and whose rule runs an operation."""
    _settle(world, rules, {alert.incident: alert for alert in seen if alert.incident}, faults)
    wanting = [alert for alert in seen if alert.firing and _wanted(rules.get(alert.rule)) is not None]
    same: dict[str, set[str]] = {}
    for alert in wanting:
        same.setdefault(_type_of(rules[alert.rule]), set()).add(alert.host)
    for alert in _with_something_to_do(world, rules, wanting, same, faults):
        with faults.apart(alert.fingerprint, "mending it"):
            _decide(world, rules[alert.rule], alert, same[_type_of(rules[alert.rule])])


def _with_something_to_do(
    world: World,
    rules: Mapping[str, AlertRule],
    wanting: Sequence[Alert],
    same: Mapping[str, set[str]],
    faults: Faults,
) -> list[Alert]:
    """Those of which something would be written: of the rest, the most, no transaction is begun."""
    if not wanting:
        return []
    found: list[Alert] = []
    with world.store.read() as connection:
        said = alert_parts.steps_taken(connection, {alert.incident for alert in wanting})
        for alert in wanting:
            with faults.apart(alert.fingerprint, "whether to mend it"):
                now = _decision(connection, world, rules[alert.rule], alert, same[_type_of(rules[alert.rule])])
                known = now.do in _SAID and _SAID[now.do] in said.get(alert.incident, ())
                found += [alert] if now.attempt is not None or (now.do in _SAID and not known) else []
    return found


def standing(
    connection: Connection, world: World, rules: Mapping[str, AlertRule], seen: Sequence[Alert], alert: Alert
) -> Decision | None:
    """What would be decided now about an alert, `seen` being all; None: it does not fire, or its rule runs nothing."""
    rule = rules.get(alert.rule)
    if rule is None or _wanted(rule) is None or not alert.firing:
        return None
    same = {one.host for one in seen if one.firing and _type_of(rules.get(one.rule)) == _type_of(rule)}
    return _decision(connection, world, rule, alert, same)


def _wanted(rule: AlertRule | None) -> RunOperation | None:
    actions = rule.actions if rule is not None else ()
    return next((action for action in actions if isinstance(action, RunOperation)), None)


def _type_of(rule: AlertRule | None) -> str:
    wanted = _wanted(rule)
    return wanted.type if wanted else ""


# What became of earlier tries


def _settle(world: World, rules: Mapping[str, AlertRule], by_incident: Mapping[str, Alert], faults: Faults) -> None:
    with world.store.read() as connection:
        running = alert_parts.running_attempts(connection)
    for attempt in running:
        alert = by_incident.get(attempt.incident)
        with faults.apart(alert.fingerprint if alert else attempt.incident, "what became of its repair"):
            _settle_one(world, rules.get(attempt.rule), alert, attempt)


def _settle_one(world: World, rule: AlertRule | None, alert: Alert | None, attempt: Attempt) -> None:
    known = _operation(world, attempt)
    if known is None:  # who decided it died before it was asked for; the id is the same
        if why := _too_late(world, alert, attempt):
            _refused(world, alert, attempt, why)
        else:
            _send(world, rule, alert, attempt)
        return
    ended = known.finished_at if known.stage is Stage.CLOSED else None
    tried = replace(attempt, ended_at=attempt.ended_at or ended)
    now = settle(tried, alert, rule, world.now(), done=known.outcome in _DONE)
    if now != attempt:
        _note(world, now, alert)


def _too_late(world: World, alert: Alert | None, attempt: Attempt) -> str:
    """Why a try is not asked for any more that was decided long ago; empty while it still counts."""
    given = world.settings.alerts.remediation
    if alert is None or not alert.firing:
        return "the alert was over before that"
    if given.dry_run or attempt.type not in given.allowed:
        return f"{attempt.type} may not be asked for any more"
    return ""


def _operation(world: World, attempt: Attempt) -> Operation | None:
    with suppress(NotFound), world.store.read() as connection:
        return operations.get(connection, attempt.operation_id)
    return None


def _note(world: World, attempt: Attempt, alert: Alert | None) -> None:
    with world.store.begin() as tx:
        alert_parts.save_attempt(tx, attempt)
        if alert is not None and attempt.state in {"helped", "failed"}:
            kind = Kind.REMEDIATED if attempt.state == "helped" else Kind.REMEDIATION
            why = f"try {attempt.number}, operation {attempt.operation_id}: {_MEANT[attempt.state]}"
            alerts.append(tx, [replace(told(alert, kind, world.now(), why), incident=attempt.incident)])


_MEANT = {"helped": "it helped", "failed": "it did not help, the alert still fires"}


# What to do now


def _decide(world: World, rule: AlertRule, alert: Alert, same: set[str]) -> None:
    with world.store.begin() as tx:
        found = _decision(tx, world, rule, alert, same)
        new = _write(tx, world, rule, alert, found)
    if new and found.do == "run" and found.attempt is not None:
        _send(world, rule, alert, found.attempt)


def _decision(connection: Connection, world: World, rule: AlertRule, alert: Alert, same: set[str]) -> Decision:
    now, given = world.now(), world.settings.alerts.remediation
    fleet = Fleet(allowed=given.allowed, most_hosts=given.most_hosts, brake_s=given.brake_s)
    if given.dry_run:
        rule = rule.model_copy(update={"remediation": rule.remediation.model_copy(update={"dry_run": True})})
    tried = alert_parts.hosts_wanting(connection, _type_of(rule), now - given.brake_s, now + AHEAD)
    return decide(
        rule,
        alert,
        alert_parts.attempts(connection, rule.name, alert.host, min(now - _DAY, alert.fired_at or now)),
        wanting=len(same | tried),
        window_open=_window_open(world, rule, alert),
        fleet=fleet,
        now=now,
    )


def _window_open(world: World, rule: AlertRule, alert: Alert) -> bool:
    """As the gate will ask; a host without any window may be changed at any time."""
    if alert.host not in world.inventory:
        return False
    windows = windows_for(world, rule, alert)
    return not windows or any(one.contains(world.now()) for one in windows)


def windows_for(world: World, rule: AlertRule, alert: Alert) -> tuple[Window, ...]:
    """The windows that count for a repair on the alert's host; none: it has none, or is not known."""
    host = world.inventory.get(alert.host)
    if host is None:
        return ()
    usual = [one for one in world.windows if one.permit and one.covers(host.name, host.groups, _type_of(rule))]
    return host.windows or tuple(usual)


def _write(tx: Connection, world: World, rule: AlertRule, alert: Alert, found: Decision) -> bool:
    """Write a decision down; False when there is nothing to do, or it was decided before."""
    now = world.now()
    if found.do in _SAID:
        if not alert_parts.take_step(tx, alert.incident, _SAID[found.do], now):
            return False
        alerts.append(tx, [told(alert, Kind.EXHAUSTED, now, found.why)])
        what = "remediation exhausted" if found.do == "exhausted" else "remediation held back"
        _call(tx, world, rule, alert, what, [found.why], found.do)
        return True
    if found.attempt is None or not alert_parts.add_attempt(tx, found.attempt):
        return False
    word = {"propose": "proposed: ", "dry_run": "dry run: "}.get(found.do, "")
    alerts.append(tx, [told(alert, Kind.REMEDIATION, now, f"{word}{found.why}")])
    if found.do == "propose" and found.operation is not None:
        lines = [found.why, f"Run it: {command(found.operation, alert.rule, alert.host)}"]
        message = of_one(alert, rule, "remediation proposed", lines, event="alerts.propose")
        event = f"alerts:{alert.incident}:propose:{found.attempt.number}"
        # To those who hear of the alert anyway: they are asked, and the others called when they do not answer.
        heard = route_of(alert, world.settings.alerts.routes).tells([rule])
        tell_later(tx, world, message, event_id=event, channels=heard)
    return True


def _call(
    tx: Connection, world: World, rule: AlertRule, alert: Alert, what: str, lines: Sequence[str], event: str
) -> None:
    """Tell a person: the last ones to be called, or where the alert goes anyway."""
    steps = steps_of(world, rule, alert)
    channels = steps[-1].channels if steps else route_of(alert, world.settings.alerts.routes).channels
    message = of_one(alert, rule, what, lines, event=f"alerts.{event}")
    tell_later(tx, world, message, event_id=f"alerts:{alert.incident}:{event}", channels=channels)


def command(wanted: RunOperation, rule: str, host: str) -> str:
    """What a person types to run a repair."""
    # A rule holds no secret, only references to them, so that its parameters can be shown.
    words = ["opsqueue", "execute", "--name", f"remediate {rule}"[:200], "--type", wanted.type]
    words += ["--systems", host, "--parameters", json.dumps(dict(wanted.parameters))]
    words += ["--priority", wanted.priority.value, "--timeout", str(wanted.timeout)]
    return shlex.join(words)


# Asking for it


def _send(world: World, rule: AlertRule | None, alert: Alert | None, attempt: Attempt) -> None:
    """Submit the operation of a try; the same id again is the same operation."""
    wanted = _wanted(rule)
    if wanted is None or rule is None:
        _refused(world, alert, attempt, "its rule has changed, and runs nothing any more")
        return
    try:
        submit(world, _request(rule, wanted, attempt))
    except OpsqueueError as error:
        _log.error("FAILED to ask for %s on %s: %s", attempt.type, attempt.host, error.message)
        _refused(world, alert, attempt, error.message)


def _refused(world: World, alert: Alert | None, attempt: Attempt, why: str) -> None:
    now = world.now()
    with world.store.begin() as tx:
        alert_parts.save_attempt(tx, replace(attempt, state="failed", ended_at=now))
        if alert is not None:
            line = told(alert, Kind.REMEDIATION, now, f"try {attempt.number} could not be asked for: {why}"[:500])
            alerts.append(tx, [line])


def _request(rule: AlertRule, wanted: RunOperation, attempt: Attempt) -> Request:
    return parse_request(
        {
            "name": f"remediate {rule.name}"[:200],
            "type": wanted.type,
            "target_systems": [attempt.host],
            "parameters": dict(wanted.parameters),
            "priority": wanted.priority,
            "timeout": wanted.timeout,
            "operation_id": attempt.operation_id,
            "requested_by": f"alert:{rule.name}"[:200],
            "reason": f"try {attempt.number} of incident {attempt.incident}",
        }
    )

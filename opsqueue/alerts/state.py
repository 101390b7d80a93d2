"""The state machine of one alert: inactive, pending, firing, kept firing, resolved; as Prometheus moves them.

The time that counts is that of the sample. A sample that is not newer than the last one judged changes nothing,
so judging twice, or late, does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from opsqueue.alerts.fingerprint import fingerprint, incident_id
from opsqueue.alerts.flapping import change, flaps, remember
from opsqueue.alerts.threshold import fires, still
from opsqueue.model.alert import Alert, AlertState, Kind, Observation, Transition
from opsqueue.model.alert_rule import AlertRule

ENGINE = "engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds that belong to the engine, not to a rule."""

    interval: float = 60.0
    """How often samples come at most, where a rule does not say."""
    tolerance: float = 3600.0
    """A gap that is longer makes an alert start anew."""
    grace: float = 600.0
    """After a gap it waits so long at least, or its `for` if that is less."""
    stale: float = 86_400.0
    """An alert about a finding that nobody looked for again in so long ends."""

    def of(self, rule: AlertRule, every: float = 0.0) -> float:
        """How often samples of this rule come; `every`: what is known of this alert's own."""
        return float(rule.interval_s or max(self.interval, every))

    def gap(self, rule: AlertRule, every: float = 0.0) -> float:
        """From where on there was a downtime between two samples."""
        return 3 * self.of(rule, every)


@dataclass(frozen=True, slots=True)
class Step:
    """An alert after one evaluation, and what happened to it."""

    alert: Alert
    transitions: tuple[Transition, ...] = ()


def begin(rule: AlertRule, labels: Mapping[str, str]) -> Alert:
    """An alert of which nothing is known yet."""
    return Alert(
        fingerprint=fingerprint(labels),
        rule=labels.get("rule", rule.name),
        labels=dict(labels),
        severity=rule.severity,
        threshold=rule.threshold,
    )


def step(rule: AlertRule, alert: Alert, seen: Observation, limits: Limits) -> Step:
    """Judge one sample."""
    if alert.last_at is not None and seen.at <= alert.last_at:
        return Step(alert)
    holds = _holds(rule, alert, seen)
    told = replace(
        _after_gap(rule, alert, seen, limits),
        value=seen.value,
        threshold=rule.threshold,
        note=seen.note,
        last_at=seen.at,
        every=_every(rule, alert, seen, limits),
        history=remember(alert.history, holds),
        severity=seen.severity or rule.severity,
    )
    moved = _held(rule, told, seen.at) if holds else _not_held(rule, told, seen.at)
    return _flapping(_severity(alert, moved, seen.at), seen.at)


def end(alert: Alert, at: float, reason: str, actor: str = ENGINE) -> Step:
    """It is over, whatever its samples say."""
    gone = replace(alert, state=AlertState.INACTIVE, active_at=None, kept_since=None)
    if alert.state is AlertState.INACTIVE:
        return Step(gone)
    if not alert.firing:
        return Step(gone, (told(alert, Kind.DROPPED, at, reason, actor),))
    return Step(_over(gone, at), (told(alert, Kind.RESOLVED, at, reason, actor),))


_NOT_JUDGED = {
    "rule_deleted": "its rule is gone",
    "rule_disabled": "its rule is turned off",
    "rule_changed": "its rule was changed, and is not about it any more",
    "host_gone": "its host is not in the inventory any more",
}


def abandoned(alert: Alert, at: float, why: str) -> Step:
    """It ends because nobody will judge it any more, which is no good news: its note says so to who is told."""
    found = end(alert, at, why)
    note = f"{_NOT_JUDGED[why]}: whether this is over is not known"
    return Step(replace(found.alert, history="", flapping=False, note=note), found.transitions)


def forgettable(alert: Alert) -> bool:
    """Whether nothing would be lost with it: it is over, and of its last 21 results none held."""
    return alert.state is AlertState.INACTIVE and "1" not in alert.history and not alert.flapping


def told(alert: Alert, kind: Kind, at: float, reason: str = "", actor: str = ENGINE) -> Transition:
    """A line of history about this alert as it stands."""
    return Transition(
        at=at,
        kind=kind,
        fingerprint=alert.fingerprint,
        rule=alert.rule,
        host=alert.host,
        severity=alert.severity,
        incident=alert.incident,
        value=alert.value,
        threshold=alert.threshold,
        reason=reason,
        actor=actor,
    )


def _holds(rule: AlertRule, alert: Alert, seen: Observation) -> bool:
    if seen.holds is not None:
        return seen.holds
    if seen.value is None:
        return False
    return still(rule, seen.value, seen.unit) if alert.firing else fires(rule, seen.value)


def _every(rule: AlertRule, alert: Alert, seen: Observation, limits: Limits) -> float:
    if seen.every or alert.last_at is None:
        return seen.every or alert.every
    gap = seen.at - alert.last_at
    # One downtime does not make the next one usual; numbers that come rarely from now on are known after some.
    return min(gap, limits.gap(rule, alert.every)) if alert.every else gap


def _after_gap(rule: AlertRule, alert: Alert, seen: Observation, limits: Limits) -> Alert:
    """As Prometheus restores `for` after a restart: the time that nobody looked does not count.

    An alert that fires goes on, unless the gap is longer than the tolerance.
    """
    at, usual = seen.at, limits.gap(rule, max(alert.every, seen.every))
    if alert.last_at is None or alert.active_at is None or at - alert.last_at <= usual:
        return alert
    if at - alert.last_at > limits.tolerance:
        return replace(alert, active_at=at)
    if alert.firing:
        return alert
    left = rule.for_s - (alert.last_at - alert.active_at)
    return replace(alert, active_at=at + max(left, min(limits.grace, rule.for_s)) - rule.for_s)


def _held(rule: AlertRule, alert: Alert, at: float) -> Step:
    active = alert.active_at if alert.active_at is not None else at
    now = replace(alert, active_at=active, kept_since=None)
    if at - active >= rule.for_s:
        return Step(now) if alert.firing else _fire(rule, now, at)
    if alert.state is AlertState.PENDING:
        return Step(now)
    why = f"the condition must hold for {rule.for_s} s"
    pending = replace(now, state=AlertState.PENDING)
    line = told(now, Kind.PENDING, at, why)
    if not alert.firing:
        return Step(pending, (line,))
    # The next firing is another incident: without its end this one would be open for ever.
    return Step(
        _over(pending, at), (told(now, Kind.RESOLVED, at, f"it does not count as firing any more: {why}"), line)
    )


def _fire(rule: AlertRule, alert: Alert, at: float) -> Step:
    firing = replace(
        alert,
        state=AlertState.FIRING,
        fired_at=at,
        resolved_at=None,
        incident=incident_id(alert.fingerprint, at),
        acked_by="",
        acked_at=None,
        acked_until=None,
    )
    why = f"held for {at - (alert.active_at or at):.0f} s" if rule.for_s else "for is 0"
    return Step(firing, (told(firing, Kind.FIRING, at, why),))


def _not_held(rule: AlertRule, alert: Alert, at: float) -> Step:
    if not alert.firing:
        return end(alert, at, "the condition does not hold")
    since = alert.kept_since if alert.kept_since is not None else at
    if at - since < rule.keep_firing_for_s:
        return Step(replace(alert, kept_since=since))
    return end(alert, at, "the condition does not hold any more")


def _over(alert: Alert, at: float) -> Alert:
    """The firing is over; its incident stands on until the next one."""
    return replace(alert, resolved_at=at, acked_by="", acked_at=None, acked_until=None, muted_by=())


def _severity(before: Alert, found: Step, at: float) -> Step:
    if not (before.firing and found.alert.firing) or before.severity is found.alert.severity:
        return found
    line = told(found.alert, Kind.SEVERITY, at, f"{before.severity} before")
    return Step(found.alert, (*found.transitions, line))


def _flapping(found: Step, at: float) -> Step:
    alert = found.alert
    flapping = flaps(alert.history, now=alert.flapping)
    if flapping is alert.flapping:
        return found
    now = replace(alert, flapping=flapping)
    kind = Kind.FLAPPING if flapping else Kind.STEADY
    line = told(now, kind, at, f"{change(alert.history):.0f} % of change in the last 21 results")
    return Step(now, (*found.transitions, line))

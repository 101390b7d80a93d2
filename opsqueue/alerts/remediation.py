"""Mending by itself: when a rule may ask for an operation, and when it must give up and call a person.

Every answer is a value with its reason; what is asked for goes through all gates like anybody's request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from opsqueue.alerts.fingerprint import operation_id
from opsqueue.alerts.matching import BY_WINDOW
from opsqueue.model.alert import Alert, Attempt, Decision
from opsqueue.model.alert_rule import AlertRule, RunOperation

_HOUR, _DAY = 3600.0, 86_400.0
AHEAD = 120.0
"""Seconds by which clocks of the cluster may differ; a later try was made before ours was set back, and counts not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What counts for all rules together."""

    allowed: Collection[str] = ()
    """The operation types that may be asked for; none: nothing is mended by itself."""
    most_hosts: int = 3
    """More hosts than this that want the same type at once have one cause, which mending each would not touch."""
    brake_s: float = 900.0
    """What `at once` means."""


def decide(
    rule: AlertRule,
    alert: Alert,
    attempts: Sequence[Attempt],
    *,
    wanting: int,
    window_open: bool,
    fleet: Fleet,
    now: float,
) -> Decision:
    """What to do now about an alert whose rule runs an operation.

    `attempts` are those of this rule on this host, of the last day and of this incident; `wanting` is how many hosts
    wanted the same type within `fleet.brake_s`, this one among them.
    """
    wanted = next((action for action in rule.actions if isinstance(action, RunOperation)), None)
    if wanted is None or not alert.firing:
        return Decision(do="nothing", why="nothing is to be run")
    if stop := _not_now(rule, alert, attempts, wanted, window_open, fleet, now):
        return stop
    if wanting > fleet.most_hosts:
        return Decision(
            do="brake",
            why=f"{wanting} hosts want {wanted.type} at once, more than {fleet.most_hosts}: a common cause is likely, "
            "and a person must look",
        )
    return _next(rule, alert, attempts, wanted, now)


def settle(attempt: Attempt, alert: Alert | None, rule: AlertRule | None, now: float, *, done: bool = True) -> Attempt:
    """Whether a try whose operation has ended helped: this incident is over within `verify_within_s`.

    `done`: whether the operation did what it should; one that did not need not be waited for.
    """
    if attempt.state != "running" or attempt.ended_at is None:
        return attempt
    if attempt.ended_at > now + AHEAD:
        attempt = replace(attempt, ended_at=now)
    gone = alert is None or alert.incident != attempt.incident or not alert.firing
    if gone:
        return replace(attempt, state="helped")
    limit = rule.remediation.verify_within_s if rule and done else 0
    return replace(attempt, state="failed") if now - (attempt.ended_at or now) >= limit else attempt


def _not_now(
    rule: AlertRule,
    alert: Alert,
    attempts: Sequence[Attempt],
    wanted: RunOperation,
    window_open: bool,
    fleet: Fleet,
    now: float,
) -> Decision | None:
    """The first reason why nothing is asked for now."""
    if wanted.type not in fleet.allowed:
        return Decision(do="nothing", why=f"{wanted.type} is not in alerts.remediation.allowed")
    if why := _hindered(rule, alert, attempts, now):
        return Decision(do="wait", why=why)
    if why := _spent(rule, alert, attempts, now):
        return Decision(do="exhausted", why=why)
    if why := _too_soon(rule, alert, attempts, window_open, now):
        return Decision(do="wait", why=why)
    return None


def _hindered(rule: AlertRule, alert: Alert, attempts: Sequence[Attempt], now: float) -> str:
    running = [one for one in attempts if one.state == "running"]
    muted = [why for why in alert.muted_by if not why.startswith(BY_WINDOW)]
    reasons = (
        (bool(muted), f"it is muted by {', '.join(muted)}"),
        (alert.flapping, "it flaps"),
        (alert.acked(now), f"{alert.acked_by} looks after it"),
        (len(running) >= rule.remediation.concurrency, "a try is at it, or it is not known yet whether that helped"),
    )
    return next((why for stands, why in reasons if stands), "")


def _too_soon(rule: AlertRule, alert: Alert, attempts: Sequence[Attempt], window_open: bool, now: float) -> str:
    policy = rule.remediation
    tried = [one.ended_at or one.at for one in attempts if one.state in {"helped", "failed"}]
    if any(now - policy.cooldown_s < at <= now + AHEAD for at in tried):
        return f"the last try ended less than {policy.cooldown_s} s ago"
    if policy.require_window and not window_open:
        return f"no maintenance window of {alert.host or 'the host'} is open"
    return ""


def _spent(rule: AlertRule, alert: Alert, attempts: Sequence[Attempt], now: float) -> str:
    """Why no more tries are left; empty while some are."""
    policy = rule.remediation
    tries = [one for one in attempts if one.state in {"running", "helped", "failed"}]
    hour = sum(now - _HOUR < one.at <= now + AHEAD for one in tries)
    day = sum(now - _DAY < one.at <= now + AHEAD for one in tries)
    if day >= policy.max_per_day:
        return (
            f"remediation exhausted: {day} tries of {rule.name} on {alert.host} in 24 h, {policy.max_per_day} allowed"
        )
    if hour >= policy.max_per_hour:
        return (
            f"remediation exhausted: {hour} tries of {rule.name} on {alert.host} in 1 h, {policy.max_per_hour} allowed"
        )
    return ""


_DONE = {"dry_run": "shown as a dry run"}
"""How the state of a try is said after `it was`, where it cannot be said as it is."""


def _next(rule: AlertRule, alert: Alert, attempts: Sequence[Attempt], wanted: RunOperation, now: float) -> Decision:
    mine = [one for one in attempts if one.incident == alert.incident]
    policy = rule.remediation
    how = "dry_run" if policy.dry_run else "propose" if policy.approve == "human" else "run"
    if how != "run" and mine:
        return Decision(do="wait", why=f"it was {_DONE.get(mine[-1].state, mine[-1].state)} already")
    number = max((one.number for one in mine), default=0) + 1
    attempt = Attempt(
        operation_id=operation_id(alert.incident, number),
        rule=rule.name,
        host=alert.host,
        incident=alert.incident,
        number=number,
        type=wanted.type,
        at=now,
        state={"run": "running", "propose": "proposed"}.get(how, "dry_run"),  # type: ignore[arg-type]  # words of `how`
    )
    why = f"try {number} of this incident: {wanted.type} on {alert.host}"
    return Decision(do=how, why=why, attempt=attempt, operation=wanted)  # type: ignore[arg-type]  # likewise

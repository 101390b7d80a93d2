"""People and alerts: acknowledging, silencing, and who is called when nobody does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opsqueue.alerts.escalation import ACK_SECONDS, acknowledge, due_steps
from opsqueue.alerts.grouping import route_of
from opsqueue.alerts.matching import changed, expired, new_silence
from opsqueue.alerts.state import told
from opsqueue.errors import Conflict, InvalidRequest, NotFound
from opsqueue.model.alert import Alert, Kind, Silence
from opsqueue.model.alert_rule import AlertRule, EscalationStep
from opsqueue.model.matcher import parse_matchers
from opsqueue.notify.alert_message import of_one
from opsqueue.pipeline.tell_later import tell_later
from opsqueue.pipeline.world import World
from opsqueue.store import alert_parts, alerts
from opsqueue.store.engine import Connection, Store

_TRIES = 8


def steps_of(world: World, rule: AlertRule | None, alert: Alert) -> tuple[EscalationStep, ...]:
    """The steps of the rule, or of the alert's route where it has none."""
    if rule is not None and rule.escalation:
        return rule.escalation
    return route_of(alert, world.settings.alerts.routes).escalation


def escalate(world: World, rules: Mapping[str, AlertRule], seen: Sequence[Alert]) -> None:
    """Call whoever is due to be called; the key of the table lets each step of an incident happen once."""
    now = world.now()
    waiting = [(alert, steps_of(world, rules.get(alert.rule), alert)) for alert in seen if alert.firing]
    waiting = [(alert, steps) for alert, steps in waiting if steps]
    if not waiting:
        return
    with world.store.read() as connection:
        taken = alert_parts.steps_taken(connection, {alert.incident for alert, _ in waiting})
    for alert, steps in waiting:
        for number in due_steps(alert, steps, taken.get(alert.incident, ()), now):
            with world.store.begin() as tx:
                _step(tx, world, rules.get(alert.rule), alert, number, steps[number])


def _step(
    tx: Connection, world: World, rule: AlertRule | None, alert: Alert, number: int, step: EscalationStep
) -> None:
    now = world.now()
    if not alert_parts.take_step(tx, alert.incident, number, now):
        return
    why = f"step {number + 1}: nobody acknowledged within {step.after_s} s; telling {', '.join(step.channels)}"
    alerts.append(tx, [told(alert, Kind.ESCALATED, now, why)])
    message = of_one(alert, rule, "not acknowledged", [why], event="alerts.escalated")
    tell_later(tx, world, message, event_id=f"alerts:{alert.incident}:step:{number}", channels=step.channels)


def ack(store: Store, beginning: str, *, by: str, now: float, seconds: float = ACK_SECONDS, comment: str = "") -> Alert:
    """Acknowledge the alert whose fingerprint or incident begins so; NotFound, Conflict."""
    for _ in range(_TRIES):
        with store.begin() as tx:
            found = one_alert(tx, beginning)
            after, line = acknowledge(found, by=by, now=now, seconds=seconds, comment=comment)
            if alerts.save(tx, found, after, [line]):
                return after
    raise Conflict(f"alert {beginning[:80]} keeps changing: try again")


def one_alert(connection: Connection, beginning: str) -> Alert:
    """The one alert whose fingerprint or incident begins so; NotFound when there is none, or more than one."""
    found = alerts.starting_with(connection, beginning) if beginning else []
    if len(found) != 1:
        few = "none" if not found else "more than one"
        raise NotFound(
            f"wanted one alert whose fingerprint or incident begins with {beginning[:80]!r}; there is {few}. "
            "`opsqueue alerts list` shows them"
        )
    return found[0]


def silence(store: Store, matchers: Sequence[str], *, now: float, seconds: float, by: str, comment: str) -> Silence:
    """Keep quiet what all of these matchers fit; InvalidRequest. The same once more is the same silence."""
    try:
        found = parse_matchers(list(matchers))
    except ValueError as error:
        raise InvalidRequest(f"no matcher: {error}") from None
    made = new_silence([found] if found else [], starts_at=now, ends_at=now + seconds, by=by, comment=comment, now=now)
    with store.begin() as tx:
        alert_parts.add_silence(tx, made)
    return made


def remove_rule(store: Store, name: str) -> None:
    """Forget a rule that was added; NotFound when there is none."""
    with store.begin() as tx:
        alert_parts.delete_rule(tx, name)


def move_silence(
    store: Store, beginning: str, *, now: float, starts_at: float | None = None, ends_at: float | None = None
) -> Silence:
    """Give a silence another time; neither: end it now. NotFound, Conflict."""
    with store.begin() as tx:
        before = alert_parts.get_silence(tx, beginning)
        over = starts_at is None and ends_at is None
        after = expired(before, now) if over else changed(before, starts_at=starts_at, ends_at=ends_at, now=now)
        if not alert_parts.change_silence(tx, before, after):
            raise Conflict(f"silence {before.id} was changed by somebody else at the same moment: look at it again")
        return after

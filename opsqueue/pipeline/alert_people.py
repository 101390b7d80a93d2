"""People and alerts: acknowledging, silencing, and who is called when nobody does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from opsqueue.alerts.escalation import ACK_SECONDS, acknowledge, due_steps, resolve, take_back
from opsqueue.alerts.grouping import route_of
from opsqueue.alerts.matching import changed, expired, new_silence, silences_it
from opsqueue.alerts.state import Step, told
from opsqueue.errors import Conflict, InvalidRequest, NotFound
from opsqueue.model.alert import Alert, Kind, Silence
from opsqueue.model.alert_rule import AlertRule, EscalationStep
from opsqueue.model.matcher import parse_matchers
from opsqueue.model.misspelt import nearest
from opsqueue.notify.alert_message import of_one
from opsqueue.pipeline.alert_faults import Faults
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


def escalate(world: World, rules: Mapping[str, AlertRule], seen: Sequence[Alert], faults: Faults) -> None:
    """Call whoever is due to be called; the key of the table lets each step of an incident happen once."""
    now = world.now()
    waiting = [(alert, steps_of(world, rules.get(alert.rule), alert)) for alert in seen if alert.firing]
    waiting = [(alert, steps) for alert, steps in waiting if steps]
    if not waiting:
        return
    with world.store.read() as connection:
        taken = alert_parts.steps_taken(connection, {alert.incident for alert, _ in waiting})
    for alert, steps in waiting:
        with faults.apart(alert.fingerprint, "calling somebody about it"):
            for number in due_steps(alert, steps, taken.get(alert.incident, ()), now):
                _call(world, rules.get(alert.rule), alert, number, steps[number])


def _call(world: World, rule: AlertRule | None, alert: Alert, number: int, step: EscalationStep) -> None:
    with world.store.begin() as tx:
        _step(tx, world, rule, alert, number, step)


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
    with store.begin() as tx:
        return ack_in(tx, beginning, by=by, now=now, seconds=seconds, comment=comment)


def ack_in(
    tx: Connection, beginning: str, *, by: str, now: float, seconds: float = ACK_SECONDS, comment: str = ""
) -> Alert:
    """The same, in the caller's transaction."""

    def known(found: Alert) -> Step:
        after, line = acknowledge(found, by=by, now=now, seconds=seconds, comment=comment)
        return Step(after, (line,))

    return change_one(tx, beginning, known)


def unack(store: Store, beginning: str, *, by: str, now: float, comment: str = "") -> Alert:
    """Take the acknowledgement back of the alert whose fingerprint or incident begins so; NotFound, Conflict."""
    with store.begin() as tx:
        return change_one(tx, beginning, lambda found: back(found, by=by, now=now, comment=comment))


def back(found: Alert, *, by: str, now: float, comment: str = "") -> Step:
    """Its acknowledgement, taken back; Conflict when there is none."""
    after, line = take_back(found, by=by, now=now, reason=comment)
    return Step(after, (line,))


def resolve_by_hand(store: Store, beginning: str, *, by: str, now: float, comment: str) -> Alert:
    """End the alert whose fingerprint or incident begins so; NotFound, Conflict, InvalidRequest without a comment."""
    with store.begin() as tx:
        return change_one(tx, beginning, lambda found: resolve(found, by=by, now=now, reason=comment))


def change_one(tx: Connection, beginning: str, how: Callable[[Alert], Step]) -> Alert:
    """Write what `how` makes of the one alert, anew where somebody was faster; NotFound, and what `how` raises."""
    for _ in range(_TRIES):
        found = one_alert(tx, beginning)
        step = how(found)
        if step.alert == found or alerts.save(tx, found, step.alert, step.transitions):
            return step.alert
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
    made = silence_of(matchers, now=now, seconds=seconds, by=by, comment=comment)
    with store.begin() as tx:
        alert_parts.add_silence(tx, made)
    return made


def silence_of(matchers: Sequence[str], *, now: float, seconds: float, by: str, comment: str) -> Silence:
    """The silence of all of these matchers, from now on; InvalidRequest. Nothing is written."""
    try:
        found = parse_matchers(list(matchers))
    except ValueError as error:
        raise InvalidRequest(f"no matcher: {error}") from None
    return new_silence([found] if found else [], starts_at=now, ends_at=now + seconds, by=by, comment=comment, now=now)


def keeps_quiet(connection: Connection, silence: Silence, now: float) -> int:
    """How many alerts that fire or are pending it mutes now."""
    return sum(silences_it(silence, alert, now) for alert in alerts.active(connection))


def strangers(silence: Silence, known: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Matchers that name a host or rule which is not there; `known`: the names by label."""
    for one in (matcher for few in silence.matchers for matcher in few):
        names = known.get(one.label)
        if names is not None and one.op == "=" and one.value not in names:
            yield f"{one}: there is no {one.label} of this name{nearest(one.value, names)}"


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
        if over:
            return end_silence(tx, before, now)
        return _moved(tx, before, changed(before, starts_at=starts_at, ends_at=ends_at, now=now))


def end_silence(tx: Connection, silence: Silence, now: float) -> Silence:
    """End it now; Conflict when it is over."""
    return _moved(tx, silence, expired(silence, now))


def _moved(tx: Connection, before: Silence, after: Silence) -> Silence:
    if not alert_parts.change_silence(tx, before, after):
        raise Conflict(f"silence {before.id} was changed by somebody else at the same moment: look at it again")
    return after

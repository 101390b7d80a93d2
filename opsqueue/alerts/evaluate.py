"""One host's newest numbers and findings against all rules that are about it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opsqueue.alerts.cel import holds as condition_holds
from opsqueue.alerts.cel import wants_more
from opsqueue.alerts.findings import of_findings, unjudged
from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.alerts.reading import Reading, fits
from opsqueue.alerts.state import Limits, Step, abandoned, begin, end, forgettable, step
from opsqueue.errors import ConditionFailed, NumbersMissing
from opsqueue.model.alert import Alert, Observation, Transition
from opsqueue.model.alert_rule import RESERVED, AlertRule
from opsqueue.model.host import Host
from opsqueue.model.kind import Metric
from opsqueue.model.names import Severity

MOST_ALERTS = 1000
"""Of one rule; more are an error in the rule."""
NO_DATA = "NoData"
UP = "up"
_MISSED = {"keep": 3, "ok": 3, "alert": 2}
"""After so many intervals without a sample something follows."""
_CATCH_UP = 60.0
"""Seconds within which what was missed while nothing ran is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An alert as it was found and as it stands now."""

    before: Alert
    after: Alert
    transitions: tuple[Transition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What one evaluation changes, and how the rules are that could not be evaluated."""

    changes: tuple[Change, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    """By rule: why it has no answer; its alerts stand as they stood."""
    sound: tuple[str, ...] = ()
    """The rules that had an answer."""


def evaluate(
    rules: Sequence[AlertRule],
    reading: Reading,
    known: Mapping[str, Alert],
    limits: Limits,
    elsewhere: Callable[[str], int] = lambda _: 0,
) -> Evaluated:
    """Judge a reading. `known` are this host's alerts; `elsewhere` counts those that a rule has on all other hosts."""
    changes: list[Change] = []
    errors: dict[str, str] = {}
    sound: list[str] = []
    for rule in rules:
        if not covers(rule, reading.host):
            continue
        try:
            found = _of_rule(rule, reading, known, limits)
        except Exception as error:  # noqa: BLE001  # one rule must not keep the others, or the operation, from going on
            found, wrong = [], _why(error)
        else:
            found, wrong = _few_enough(rule, found, known, elsewhere)
        changes.extend(found)
        if wrong:
            errors[rule.name] = wrong
        else:
            sound.append(rule.name)
    return Evaluated(changes=tuple(changes), errors=errors, sound=tuple(sound))


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, ConditionFailed) else f"{type(error).__name__}: {error}"


def covers(rule: AlertRule, host: Host) -> bool:
    """Whether the rule is about this host, and turned on."""
    names = {"all", host.name, *(f"group:{one}" for one in host.groups), *(f"tag:{one}" for one in host.tags)}
    return rule.enabled and bool(names & set(rule.hosts))


def observe(rule: AlertRule, reading: Reading, known: Mapping[str, Alert]) -> list[Observation]:
    """What the rule sees in a reading; nothing where its numbers are missing.

    Raises ConditionFailed, and NumbersMissing where a condition names numbers that this reading has not.
    """
    base = {**rule.labels, "rule": rule.name, "host": reading.host.name}
    if rule.condition is not None:
        return _of_condition(rule.condition, reading, base)
    if rule.finding is not None:
        return of_findings(rule.finding, reading, base, known)
    return [
        Observation(
            labels=base | part | _meant(reading, metric),
            at=reading.at,
            value=metric.value,
            unit=metric.unit,
            every=reading.every,
        )
        for part, metric in _matching(rule.metric or "", reading.metrics)
        if metric.value is not None
    ]


def _meant(reading: Reading, metric: Metric) -> dict[str, str]:
    return {"type": reading.up_means} if metric.name == UP and reading.up_means else {}


def missing(rule: AlertRule, alert: Alert, limits: Limits, now: float) -> bool:
    """Whether so many samples were missed that something follows from it."""
    return alert.last_at is not None and now - alert.last_at > _patience(rule, alert, limits)


def _patience(rule: AlertRule, alert: Alert, limits: Limits) -> float:
    patience = _MISSED[rule.on_missing] * limits.of(rule, alert.every)
    if rule.finding is not None and rule.interval_s is None:
        # What was asked for once has no interval yet, and nobody need ever ask again.
        return max(patience, limits.stale)
    return patience


def _too_soon(rule: AlertRule, alert: Alert, limits: Limits, now: float, since: float) -> bool:
    """Whether nobody looked until a moment ago: what was silent then may answer as soon as it is asked.

    As long as after a gap of its samples, and long enough for slots that were missed meanwhile to be caught up.
    """
    return now - since <= max(_CATCH_UP, min(_patience(rule, alert, limits), limits.grace))


def without_data(rule: AlertRule, alert: Alert, limits: Limits, now: float, since: float = 0.0) -> Step:
    """What becomes of an alert while nothing is heard, and somebody looks since `since`.

    It ends if the rule says that silence is good. One about a finding ends too, or nothing might ever end it: its type
    may not run any more, or with other parameters.
    """
    if rule.on_missing == "alert" or not missing(rule, alert, limits, now):
        return Step(alert)
    if _too_soon(rule, alert, limits, now, since):
        return Step(alert)
    if rule.finding is not None:
        age = now - (alert.last_at or now)
        return _silent(alert, now, f"stale: nobody looked for it again in {age:.0f} s; whether it is over is not known")
    if rule.on_missing == "ok":
        return _silent(alert, now, "there was no data, which this rule takes for good")
    return Step(alert)


def _silent(alert: Alert, now: float, why: str) -> Step:
    """It ends, and its note says that nobody saw it."""
    found = end(alert, now, why)
    return Step(replace(found.alert, note=why) if found.transitions else found.alert, found.transitions)


def no_data(
    rule: AlertRule, alert: Alert, limits: Limits, now: float, since: float = 0.0
) -> tuple[AlertRule, Observation] | None:
    """The rule `NoData` and what it sees of this alert; None where the rule does not want it, or nobody can know yet.

    Somebody looks since `since`.
    """
    if rule.on_missing == "ok" or alert.rule == NO_DATA or (rule.finding is not None and rule.on_missing == "keep"):
        return None
    silent = missing(rule, alert, limits, now)
    if silent and _too_soon(rule, alert, limits, now, since):
        return None
    gone = silent and (alert.firing or rule.on_missing == "alert")
    labels = {**alert.labels, "rule": NO_DATA, "nodata": rule.name}
    order = list(Severity)
    lower = order[max(0, order.index(rule.severity) - 1)]
    about = AlertRule(name=NO_DATA, finding="no_data", for_s=0, severity=lower)
    age = now - (alert.last_at or now)
    note = f"{rule.name}: nothing was heard of {alert.host} for {age:.0f} s" if gone else ""
    return about, Observation(labels=labels, at=now, holds=gone, note=note)


def unheard(rule: AlertRule, host: Host, metric: str, last_at: float, every: float = 0.0) -> Alert | None:
    """An alert that is well, as it was last heard; None where the rule does not want to hear of silence."""
    if rule.on_missing != "alert" or rule.metric is None or not covers(rule, host):
        return None
    reading = Reading(host=host, at=last_at, metrics={metric: Metric(name=metric, value=0.0, unit="")})
    seen = observe(rule, reading, {})
    return replace(begin(rule, seen[0].labels), last_at=last_at, every=every) if seen else None


def judged(rule: AlertRule, before: Alert | None, seen: Observation, limits: Limits) -> Change | None:
    """The change that one observation makes; None when it makes none."""
    old = before or begin(rule, seen.labels)
    found = step(rule, old, seen, limits)
    if found.alert == old or (before is None and forgettable(found.alert)):
        return None
    return Change(before=old, after=found.alert, transitions=found.transitions)


def _of_rule(rule: AlertRule, reading: Reading, known: Mapping[str, Alert], limits: Limits) -> list[Change]:
    try:
        seen = observe(rule, reading, known)
    except NumbersMissing:
        seen = []  # of this host there is no data, as there is none where a metric is missing
    names = {fingerprint(one.labels) for one in seen}
    found = [judged(rule, known.get(fingerprint(one.labels)), one, limits) for one in seen]
    changes = [one for one in found if one is not None]
    dark = [one for one in _unjudged(rule, reading, known) if one.fingerprint not in names]
    changes += [Change(before=one, after=replace(one, last_at=reading.at)) for one in dark]
    return [*changes, *_left_behind(rule, reading, known, names)]


def _few_enough(
    rule: AlertRule, changes: list[Change], known: Mapping[str, Alert], elsewhere: Callable[[str], int]
) -> tuple[list[Change], str]:
    """What of it may be, and what is wrong with the rule; empty: nothing."""
    begun = [one for one in changes if begins(one)]
    if not begun:
        return changes, ""
    stand = {alert.fingerprint for alert in known.values() if alert.rule == rule.name and alert.active_at is not None}
    stand -= {one.after.fingerprint for one in changes if one.after.active_at is None}
    many = elsewhere(rule.name) + len(stand) + len(begun)
    if many <= MOST_ALERTS:
        return changes, ""
    # Those that stand are judged, or nothing would ever end them.
    refused = f"it would have {many} alerts, more than {MOST_ALERTS}: narrow it"
    return [one for one in changes if not begins(one)], refused


def _unjudged(rule: AlertRule, reading: Reading, known: Mapping[str, Alert]) -> Iterator[Alert]:
    if rule.finding is not None:
        yield from (one for one in unjudged(reading, rule.name, known) if (one.last_at or 0.0) < reading.at)


def begins(change: Change) -> bool:
    """Whether its rule has one more alert by it."""
    return change.before.active_at is None and change.after.active_at is not None


def _left_behind(
    rule: AlertRule, reading: Reading, known: Mapping[str, Alert], seen: Collection[str]
) -> Iterator[Change]:
    """Alerts that the rule cannot have any more, because its own labels were changed."""
    for alert in known.values():
        if alert.rule != rule.name or alert.fingerprint in seen:
            continue
        own = {name: value for name, value in alert.labels.items() if name not in RESERVED}
        if own != dict(rule.labels):
            found = abandoned(alert, reading.at, "rule_changed")
            yield Change(before=alert, after=found.alert, transitions=found.transitions)


def _of_condition(condition: str, reading: Reading, labels: Mapping[str, str]) -> list[Observation]:
    numbers = {name: one.value for name, one in reading.metrics.items() if one.value is not None}
    if not numbers or (set(numbers) == {UP} and UP not in condition):
        return []  # of a host that was not reached nothing else is known
    if set(numbers) != {UP} and wants_more(condition, numbers):
        numbers = {**reading.lately(), **numbers}
    found = condition_holds(condition, metrics=numbers, labels=labels)
    return [Observation(labels=dict(labels), at=reading.at, holds=found, note=condition, every=reading.every)]


def _matching(wanted: str, metrics: Mapping[str, Metric]) -> Iterator[tuple[dict[str, str], Metric]]:
    for name, metric in metrics.items():
        if fits(wanted, name):
            part = name[len(wanted) - 1 :] if wanted.endswith("*") else name.partition(":")[2]
            yield ({"part": part} if part else {}), metric

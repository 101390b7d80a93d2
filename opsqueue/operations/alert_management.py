"""Look after alerts and their rules, as an operation: recorded, gated, planned beforehand, verified, led back.

What it does: asks the record of opsqueue, and no host, about the alerts of its target systems. `list`, `stats`, `test`
and `evaluate` look; `ack`, `silence` and `resolve` change how alerts of these hosts stand; `create`, `update` and
`delete` change a rule. Its commands are those of `opsqueue alerts`, done in the name of whoever asked.

How it is undone: an acknowledgement is taken back, a silence ended, a rule that was made is removed, one that was
changed or removed stands again as it was. What was resolved is not led back: it fires again where its condition holds.

After a crash: nothing is sent again. A command is written in one transaction, or not at all; what is found decides.
"""

from __future__ import annotations

from opsqueue.model.fact import Fact, Facts, Record, why_unknown
from opsqueue.model.kind import Analysis, Metric, OperationKind, Seen
from opsqueue.model.names import OperationType, Risk, Sort
from opsqueue.model.plan import Plan
from opsqueue.model.report import Section
from opsqueue.operations.alerting import show, work
from opsqueue.operations.alerting.hand import Hand
from opsqueue.operations.alerting.params import RULES, AlertManagementParams

_MORE = {"list": ("silences", "rules", "routes"), "evaluate": ("evaluation",)}


def facts(params: AlertManagementParams) -> tuple[Fact, ...]:
    """The alerts of the host, and what else the action is about."""
    found = [_fact("alerts", named=list(params.alerts)), *map(_fact, _MORE.get(params.action, ()))]
    seconds = params.days * 86_400
    if params.action == "silence":
        found.append(_fact("silence"))
    if params.action == "stats":
        found.append(_fact("statistics", seconds=seconds))
    if params.action in RULES:
        found.append(_fact("rule", name=params.rule_name, rule=params.rule))
    if params.action in {"create", "update", "test"}:
        found.append(_fact("replay", name=params.rule_name, rule=params.rule, seconds=seconds))
    return tuple(found)


def after(params: AlertManagementParams, _before: Facts) -> tuple[Fact, ...]:
    """The same; the past was looked at before."""
    return tuple(fact for fact in facts(params) if fact.name != "replay")


def _fact(name: str, /, **options: object) -> Fact:
    return Fact(name=name, ask=Record(what=name, options=options))


def objections(params: AlertManagementParams, before: Facts) -> tuple[str, ...]:
    """Why nothing may be sent."""
    if why := why_unknown(before["alerts"]):
        return (f"the alerts could not be looked up: {why}",)
    return tuple(work.objections(Hand(params, before)))


def plan(params: AlertManagementParams, before: Facts) -> Plan:
    """The commands of `opsqueue alerts` that do it."""
    return work.plan(Hand(params, before))


def verify(params: AlertManagementParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """Why this is not what was wanted."""
    if why := why_unknown(found["alerts"]):
        return (f"it is not known how the alerts stand: {why}",)
    return tuple(work.verify(Hand(params, before), Hand(params, found)))


def rollback(params: AlertManagementParams, before: Facts, found: Facts) -> Plan:
    """The way back."""
    return work.rollback(Hand(params, before), Hand(params, found))


def restored(params: AlertManagementParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """What of it is still there."""
    return tuple(work.restored(Hand(params, before), Hand(params, found)))


def measure(params: AlertManagementParams, before: Facts, found: Facts) -> tuple[Metric, ...]:
    """How many alerts there are, and how soon somebody looked."""
    return tuple(show.measure(_both(params, before, found)))


def analyse(params: AlertManagementParams, seen: Seen) -> Analysis:
    """Findings; a score would say nothing."""
    return Analysis(findings=tuple(show.findings(_both(params, seen.before, seen.after))))


def report(params: AlertManagementParams, seen: Seen) -> tuple[Section, ...]:
    """The tables."""
    return tuple(show.report(_both(params, seen.before, seen.after)))


def _both(params: AlertManagementParams, before: Facts, found: Facts) -> Hand:
    """What is known now, with what only was asked before."""
    return Hand(params, {**before, **found})


def risk(params: AlertManagementParams) -> Risk:
    """A rule or a silence can be put back."""
    return Risk.READ_ONLY if params.looks else Risk.REVERSIBLE


OPERATION = OperationKind(
    name=OperationType.ALERT_MANAGEMENT.value,
    summary="Acknowledge, silence, resolve and list alerts; create, change, try and remove their rules",
    sort=Sort.CHANGING,
    desk=True,
    params=AlertManagementParams,
    facts=facts,
    objections=objections,
    plan=plan,
    after=after,
    verify=verify,
    rollback=rollback,
    restored=restored,
    measure=measure,
    analyse=analyse,
    report=report,
    risk=risk,
    looks=lambda params: params.looks,
)

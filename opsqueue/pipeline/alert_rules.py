"""Alert rules as people write them: read, checked against what is there, and tried over the stored past."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from opsqueue.alerts.built_in import built_in
from opsqueue.alerts.cel import check
from opsqueue.alerts.evaluate import NO_DATA
from opsqueue.alerts.lately import fresh
from opsqueue.alerts.reading import Reading, fits
from opsqueue.alerts.replay import Replayed, replay
from opsqueue.alerts.threshold import clear_of
from opsqueue.errors import Conflict, InvalidRequest, NotFound
from opsqueue.model.alert_rule import AlertRule, Notify, RunOperation
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.kind import Metric, OperationKind
from opsqueue.model.misspelt import nearest
from opsqueue.model.names import OperationType
from opsqueue.model.request import explain
from opsqueue.model.sample import Last, Point, SeriesWanted
from opsqueue.pipeline.alert_intake import EXTERNAL
from opsqueue.pipeline.alerting import limits_of, rules_now
from opsqueue.pipeline.world import World
from opsqueue.secrets import literal_secrets
from opsqueue.settings import Settings
from opsqueue.store import alert_parts, rollups
from opsqueue.store.engine import Connection

_PLAIN = re.compile(r"\s*([a-zA-Z_]\w*(?::[\w:/.@-]*)?\*?)\s*(>=|<=|==|!=|>|<)\s*(-?\d+(?:\.\d+)?)\s*")
"""A metric, with its part behind a colon; without one `a/b` and `a-b` are CEL, and no metric has such a name."""
_TAKEN = frozenset({NO_DATA, EXTERNAL.name})
_UNITS = {"cpu_usage": "percent", "memory_usage": "percent", "up": "state"}


def parse_rule(name: str, condition: str | Mapping[str, Any], action: Any = "notify", **more: Any) -> AlertRule:
    """The rule in a name, a condition and an action; InvalidRequest names each field that is wrong.

    A condition is `METRIC OP NUMBER`, any other text in CEL, or the fields of a rule. An action is `notify`,
    `notify:CHANNEL,CHANNEL`, an object with `action`, or a list of those.
    """
    asked = {"condition": condition} if isinstance(condition, str) else dict(condition)
    if isinstance(condition, str) and (plain := _PLAIN.fullmatch(condition)):
        asked = {"metric": plain[1], "op": plain[2], "threshold": float(plain[3])}
    try:
        return AlertRule.model_validate({**asked, "name": name, "actions": list(_actions(action)), **more})
    except ValidationError as error:
        raise InvalidRequest(explain(error, "the alert rule", AlertRule)) from None


def _actions(action: Any) -> Iterator[Any]:
    for one in action if isinstance(action, list | tuple) else [action]:
        if isinstance(one, str) and one.startswith("notify:"):
            yield {"action": "notify", "channels": one.removeprefix("notify:").split(",")}
        elif one is not None and one != "notify":
            yield one if isinstance(one, Mapping) else {"action": one}


def wrong_with(rule: AlertRule, settings: Settings, kinds: Mapping[str, OperationKind]) -> Iterator[str]:
    """Whatever the rule names and is not there, or is not understood: what is accepted is enforced."""
    if rule.name in _TAKEN:
        yield f"the name {rule.name} is the engine's own"
    if rule.condition is not None:
        try:
            check(rule.condition)
        except InvalidRequest as error:
            yield error.message
    channels = {"log", *settings.notification_channels, *settings.notification_urls}
    named = [channel for action in rule.actions if isinstance(action, Notify) for channel in action.channels]
    for channel in (*named, *(channel for step in rule.escalation for channel in step.channels)):
        if channel not in channels:
            yield f"there is no notification channel {channel[:80]!r}{nearest(channel, channels)}"
    for action in rule.actions:
        if isinstance(action, RunOperation):
            yield from _wrong_with_run(action, kinds)


def _wrong_with_run(action: RunOperation, kinds: Mapping[str, OperationKind]) -> Iterator[str]:
    known = {*kinds, *(each.value for each in OperationType)}
    if action.type not in known:
        yield f"there is no operation type {action.type[:80]!r}{nearest(action.type, known)}"
    if found := literal_secrets(action.parameters, "parameters"):
        yield f"{found[0]} holds a secret in plain text; give a reference"
    if action.type not in kinds:
        return
    model = kinds[action.type].params
    try:
        model.model_validate(dict(action.parameters))
    except ValidationError as error:
        # What is missing a host may give: its own parameters are laid under these.
        if any(item["type"] != "missing" for item in error.errors(include_url=False)):
            yield explain(error, f"the parameters of {action.type}", model)


def never_asked_for(rule: AlertRule, settings: Settings) -> str:
    """That its repair is of a type that no alert may ask for; empty: it runs none, or one that is allowed."""
    for action in rule.actions:
        if isinstance(action, RunOperation) and action.type not in settings.alerts.remediation.allowed:
            return (
                f"the alert rule {rule.name!r} runs {action.type}, which is not in alerts.remediation.allowed: "
                "it is never asked for"
            )
    return ""


def add_rule(world: World, rule: AlertRule, *, by: str, update: bool = False) -> AlertRule:
    """Keep a rule; InvalidRequest, and Conflict when its name is taken."""
    if wrong := list(wrong_with(rule, world.settings, world.kinds)):
        raise InvalidRequest(f"the alert rule {rule.name!r} cannot be honoured: {'; '.join(wrong)}")
    if taken := configured(world.settings, rule.name):
        raise Conflict(taken)
    with world.store.begin() as tx:
        if not update and rule.name in usual_rules(world.settings):
            added = {one.name: one for one in alert_parts.custom_rules(tx)}
            if added.get(rule.name) != rule:  # the same once more is the same rule
                raise Conflict(
                    f"there is a built-in alert rule called {rule.name!r}, with the threshold of alert_thresholds: "
                    "add it with --update to have it take that one's place, or use another name"
                )
        alert_parts.put_rule(tx, rule, by=by, now=world.now(), new=not update)
    return rule


def usual_rules(settings: Settings) -> Collection[str]:
    """The names of the built-in rules that are in force."""
    if not settings.alerts.built_in:
        return frozenset()
    return {one.name for one in built_in(settings.alert_thresholds.model_dump())}


def clears_at(rule: AlertRule, units: Mapping[str, str]) -> float | None:
    """Where its alerts end, by the units of the numbers that were measured; None: where it does not hold any more."""
    if rule.metric is None:
        return None
    known = (unit for name, unit in units.items() if fits(rule.metric, name))
    return clear_of(rule, next(known, unit_of(rule.metric)))


def unit_of(metric: str) -> str:
    """What a number is most likely measured in, by its name."""
    return _UNITS.get(metric) or ("percent" if metric.partition(":")[0].endswith("_usage") else "")


def configured(settings: Settings, name: str) -> str:
    """That the configuration has a rule of this name, which nobody can change here; empty: it has none."""
    if name not in {one.name for one in settings.alerts.rules}:
        return ""
    return f"the configuration has an alert rule called {name!r}: change it there, or use another name"


def rule_named(settings: Settings, connection: Connection, name: str) -> AlertRule:
    """The rule with this name, wherever it stands; NotFound names the nearest."""
    rules = rules_now(settings, connection)
    if name not in rules:
        raise NotFound(
            f"there is no alert rule {name[:80]!r}{nearest(name, rules) or '.'} `opsqueue alerts rules` lists them"
        )
    return rules[name]


def try_rule(
    connection: Connection, settings: Settings, inventory: Inventory, rule: AlertRule, *, now: float, seconds: float
) -> Replayed:
    """What the rule would have done with the stored samples of that time; nothing is written."""
    if rule.finding is not None:
        raise InvalidRequest("findings are not kept as samples: only rules over numbers can be tried over the past")
    limits = limits_of(settings)
    wanted = SeriesWanted(name="past", metrics=(rule.metric or "*",), ago=seconds)
    pasts = ((host, rollups.read(connection, host, wanted, now)) for host in inventory)
    return replay(rule, (one for host, past in pasts for one in _past(inventory[host], past, limits.interval)), limits)


def _past(host: Host, series: Mapping[str, Sequence[Point]], interval: float) -> Iterator[Reading]:
    at: dict[float, dict[str, Metric]] = defaultdict(dict)
    for name, points in series.items():
        unit = unit_of(name)
        for point in points:
            at[point.at][name] = Metric(name=name, value=point.mean, unit=unit)
    before: dict[str, Last] = {}
    for moment in sorted(at):
        yield Reading(host=host, at=moment, metrics=at[moment], lately=partial(fresh, before, moment, interval))
        before |= {name: _last(one, moment, before.get(name)) for name, one in at[moment].items()}


def _last(metric: Metric, at: float, before: Last | None) -> Last:
    return Last(metric.value or 0.0, at, at - before.at if before else 0.0)

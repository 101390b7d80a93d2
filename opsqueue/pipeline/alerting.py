"""Alert rules over what an operation has just learnt of its hosts; judged before, written with, its analysis."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from opsqueue.alerts.built_in import built_in
from opsqueue.alerts.evaluate import Evaluated, begins, evaluate
from opsqueue.alerts.lately import fresh
from opsqueue.alerts.reading import Reading
from opsqueue.alerts.state import Limits
from opsqueue.beat_schedule import build
from opsqueue.model.alert import Alert
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.fact import Reading as SystemReading
from opsqueue.model.fact import Script
from opsqueue.model.host import Host
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.pipeline.alert_intake import EXTERNAL
from opsqueue.pipeline.collect import DOWN, metrics_of
from opsqueue.pipeline.submit import params_for
from opsqueue.pipeline.world import World
from opsqueue.settings import Settings
from opsqueue.store import alert_parts, alerts, samples
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.alerts")
_BEFORE = ":before"
"""What a changing operation calls the numbers from before its change."""
_WELL = "health_check"
"""The type whose `up` means that the checks passed; with all others, that the host was reached."""
_TRIES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the record knew when the rules were asked."""

    rules: tuple[AlertRule, ...]
    alerts: Mapping[str, Mapping[str, Alert]]
    """By host and fingerprint."""
    elsewhere: Callable[[str, str], int]
    """How many alerts that are not over a rule has on all other hosts than this; read only when it is asked."""
    unwell: Mapping[str, Collection[str]]
    """By host, the rules that had no answer."""
    fresh: Mapping[str, str] = field(default_factory=dict)
    """The digests of rules of which it is not written that they were asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the rules say of one host."""

    reading: Reading
    found: Evaluated
    rules: tuple[AlertRule, ...]
    unwell: Collection[str] = ()
    fresh: Mapping[str, str] = field(default_factory=dict)


def rules_now(settings: Settings, connection: Connection) -> dict[str, AlertRule]:
    """All rules by name: built in, of the configuration, added by people; the later takes the place of the earlier."""
    given = settings.alerts
    usual = built_in(settings.alert_thresholds.model_dump()) if given.built_in else ()
    every = (EXTERNAL, *usual, *given.rules, *alert_parts.custom_rules(connection))
    return {rule.name: rule for rule in every}


def limits_of(settings: Settings) -> Limits:
    """The seconds of the engine."""
    return Limits(
        interval=settings.monitoring_interval,
        tolerance=settings.alerts.outage_tolerance_s,
        grace=settings.alerts.for_grace_period_s,
        stale=settings.alerts.finding_stale_s,
    )


def readings(
    world: World, operation: Operation, targets: Sequence[Target], findings: Iterable[Finding]
) -> tuple[Reading, ...]:
    """What the operation learnt of each host, in the order of their names; of alerts, nothing follows for alerts."""
    if operation.type in world.kinds and world.kinds[operation.type].desk:
        return ()
    by_host: dict[str, list[Finding]] = {}
    for finding in findings:
        by_host.setdefault(finding.host, []).append(finding)
    inventory, every = world.inventory, _every(world, operation.type)
    return tuple(
        Reading(
            host=inventory[target.host],
            at=target.verified_at or target.finished_at or world.now(),
            type=operation.type,
            metrics=_numbers(target),
            up_means=operation.type if operation.type == _WELL else "",
            findings=by_host.get(target.host, ()),
            scope=_scope(operation.parameters),
            looked=target.verified_at is not None,
            every=every,
            reached=partial(_reached, world, operation, inventory[target.host]),
            lately=cache(partial(_lately, world, target)),
        )
        for target in sorted(targets, key=lambda one: one.host)
        if target.host in inventory and (target.verified_at or target.host in by_host)
    )


def _reached(world: World, operation: Operation, host: Host) -> bool:
    """Whether it asked the host itself: a health check may only try what others see of it."""
    if not operation.looking:
        return True
    kind = world.kind(operation.type)
    facts = kind.facts(params_for(kind, operation.parameters, host))
    return any(isinstance(fact.ask, Script | SystemReading) for fact in facts)


def _lately(world: World, target: Target) -> Mapping[str, float]:
    at = target.verified_at or target.finished_at or world.now()
    with world.store.read() as connection:
        return fresh(samples.last(connection, target.host), at, world.settings.monitoring_interval)


def _scope(parameters: Mapping[str, Any]) -> str:
    text = json.dumps(parameters, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:12] if parameters else ""


def _numbers(target: Target) -> dict[str, Metric]:
    if target.state is TargetState.UNREACHABLE:
        return {DOWN.name: DOWN}
    return {n: m for n, m in metrics_of(target.metrics).items() if not n.endswith(_BEFORE)}


def _every(world: World, kind: str) -> float:
    """How often the schedule asks for operations of this type, seconds; 0: it does not say."""
    entries = build(world.settings, world.kinds).values()
    return float(min((one.every for one in entries if one.type == kind and one.every), default=0))


def known(world: World, connection: Connection, hosts: Collection[str]) -> Known:
    """All that has to be read before the rules are asked about these hosts."""
    # What another system decided, nothing that we see of a host ends.
    rules = tuple(one for one in rules_now(world.settings, connection).values() if one.name != EXTERNAL.name)
    unwell, asked = alerts.noted(connection, hosts)
    digests = {rule.name: rule_digest(rule) for rule in rules}
    return Known(
        rules=rules,
        alerts=alerts.of_hosts(connection, hosts),
        elsewhere=_elsewhere(connection),
        unwell=unwell,
        fresh={name: digest for name, digest in digests.items() if asked.get(name) != digest},
    )


def rule_digest(rule: AlertRule) -> str:
    """A name for the rule as it stands, so that another one of its name is not taken for it."""
    return hashlib.sha256(rule.model_dump_json().encode(errors="backslashreplace")).hexdigest()[:12]


def _elsewhere(connection: Connection) -> Callable[[str, str], int]:
    """Counted when first asked, which is when an alert begins; most operations begin none."""

    @cache
    def counts() -> Mapping[tuple[str, str], int]:
        return alerts.counts(connection)

    @cache
    def of_rule(rule: str) -> int:
        return sum(number for (name, _), number in counts().items() if name == rule)

    return lambda rule, host: of_rule(rule) - counts().get((rule, host), 0)


def judge(world: World, seen: Known, given: Iterable[Reading]) -> tuple[Judged, ...]:
    """Ask the rules, while what `seen` was read from is still open; nothing is written."""
    judged: list[Judged] = []
    begun: Counter[str] = Counter()
    for reading in given:
        one = _judge(world, seen, reading, begun)
        begun.update(change.after.rule for change in one.found.changes if begins(change))
        judged.append(one)
    return tuple(judged)


def write(tx: Connection, world: World, judged: Iterable[Judged]) -> None:
    """Write what the rules said; where somebody was faster, they are asked again about what stands there now."""
    fresh: dict[str, str] = {}
    for one in judged:
        found = _write(tx, world, one)
        _note_health(tx, one, found)
        fresh |= one.fresh
    alerts.note_asked(tx, fresh, world.now())


def _judge(world: World, seen: Known, reading: Reading, begun: Mapping[str, int]) -> Judged:
    """`begun`: what began on other hosts since the record was read, by rule."""
    host = reading.host.name

    def elsewhere(rule: str) -> int:
        return seen.elsewhere(rule, host) + begun.get(rule, 0)

    found = evaluate(seen.rules, reading, seen.alerts.get(host, {}), limits_of(world.settings), elsewhere)
    fresh = {name: digest for name, digest in seen.fresh.items() if name in found.errors or name in found.sound}
    return Judged(reading=reading, found=found, rules=seen.rules, unwell=seen.unwell.get(host, ()), fresh=fresh)


def _write(tx: Connection, world: World, judged: Judged) -> Evaluated:
    host = judged.reading.host.name
    for _ in range(_TRIES):
        # In one order, so that two transactions wait for each other in one direction only.
        changes = sorted(judged.found.changes, key=lambda change: change.before.fingerprint)
        late = [one for one in changes if not alerts.save(tx, one.before, one.after, one.transitions)]
        if not late:
            return judged.found
        judged = _judge(world, known(world, tx, [host]), judged.reading, {})
    _log.error("FAILED to write the alerts of %s: others kept changing them", host)
    return judged.found


def _note_health(tx: Connection, judged: Judged, found: Evaluated) -> None:
    host = judged.reading.host.name
    mended = [rule for rule in judged.unwell if rule not in found.errors]  # or it is not about this host any more
    if found.errors or mended:
        alerts.note_health(tx, host, mended, found.errors, judged.reading.at)
    for rule, why in found.errors.items():
        _log.warning("alert rule %s has no answer for %s: %s", rule, host, why)

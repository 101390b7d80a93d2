"""One service: what is asked, what is sent, what counts as success and what leads back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from opsqueue.facts.service_history import starts
from opsqueue.facts.service_probe import on_host
from opsqueue.facts.services import Unit, preflight, service, settled
from opsqueue.model.fact import Fact, Facts, Probe, why_unknown
from opsqueue.model.plan import Plan
from opsqueue.operations.service import commands
from opsqueue.operations.service.objections import is_detached, not_one
from opsqueue.operations.service.params import HealthCheck, ServiceRestartParams
from opsqueue.operations.service.verdict import (
    alive,
    dependants_down,
    health_problem,
    right_life,
    unit_of,
    verb_for,
)

_CHANGE_S = 30
"""Seconds that a detached restart may take to begin."""
_BASELINE_S = 5.0
_LONGEST_LIFE_S = 120
"""Who lived longer before it crashed is not waited for."""
_CLOCK_S = 2
"""Starts are told in whole seconds."""


def facts(params: ServiceRestartParams) -> tuple[Fact, ...]:
    """How it stands, whether its configuration is good, and whether it is healthy now."""
    found = [service(params.where, params.manager)]
    if params.preflight == "builtin":
        found.append(preflight(params.where))
    if params.health_check is not None and not params.health_check.command:
        # A command of the user's runs only when its gates are open: not before, when plans are made.
        found.append(_health(params, params.health_check, delay=0, timeout=_BASELINE_S, wanted=1))
    if params.storm_limit:
        found.append(starts(params.service_name, params.storm_window_seconds, params.state_dir, sudo=params.sudo))
    return tuple(found)


def after(params: ServiceRestartParams, before: Facts) -> tuple[Fact, ...]:
    """Waits for it to be up, watches it, and asks its health check in the end."""
    unit = unit_of(before)
    if unit is None:
        return facts(params)
    change, settle = _CHANGE_S if is_detached(params, unit) else 0, long_enough(params, before)
    watch = settled(
        params.where,
        unit,
        start_timeout=params.start_timeout_seconds,
        settle=settle,
        change=change,
        lines=params.journal_lines,
    )
    check = params.health_check
    if check is None:
        return (watch,)
    wanted = check.success_threshold
    return (watch, _health(params, check, delay=settle, timeout=check.timeout_seconds, wanted=wanted))


def long_enough(params: ServiceRestartParams, before: Facts) -> int:
    """Seconds to watch: `settle_seconds`, or longer where systemd saw it live longer than that and crash."""
    unit, told = unit_of(before), before.get("starts")
    if unit is None or not unit.restarts or not told or why_unknown(told):
        return params.settle_seconds
    # Of one that it gave up the last that it counts was none: it was not allowed to start.
    anew = unit.restarts - (unit.phase == "failed")
    lives = [later - begun for begun, later in pairwise(told["systemd"][-anew - 1 :])]
    longest = max(lives, default=0)
    return max(params.settle_seconds, longest + _CLOCK_S) if longest <= _LONGEST_LIFE_S else params.settle_seconds


def _health(params: ServiceRestartParams, check: HealthCheck, *, delay: int, timeout: float, wanted: int) -> Fact:
    if check.command:
        # Scripts run one after the other: it has settled when this one is asked.
        return on_host(check.command, delay=0, patience=round(timeout), times=wanted, sudo=params.sudo)
    often = {"delay": delay, "successes": wanted, "retries": 10_000 if delay else 0, "attempt_timeout": _BASELINE_S}
    if check.http:
        ask = Probe(
            kind="http",
            options={"url": check.http, "expect_status": [check.expect_status], **often},
            timeout=timeout + delay,
        )
        return Fact(name="health", ask=ask)
    host, _, port = check.tcp.rpartition(":")
    options = {"host": host.strip("[]"), "port": int(port), **often}
    return Fact(name="health", ask=Probe(kind="tcp", options=options, timeout=timeout + delay))


def plan(params: ServiceRestartParams, before: Facts) -> Plan:
    """The steps for the state it was found in."""
    unit = unit_of(before)
    if unit is None:
        return Plan(note=not_one(params, before["service"]))
    if unit.phase == "stopped" and params.when_inactive == "skip":
        return Plan(note=f"{unit.target} is stopped, and when_inactive is skip")
    read = commands.daemon_reload(params) if params.daemon_reload and unit.manager == "systemd" else ()
    verb = verb_for(params, unit)
    if is_detached(params, unit):
        return Plan(steps=(*read, *commands.detached(params, unit)), note=f"systemd does the {verb} on its own")
    forget = commands.reset_failed(params, unit) if _has_failed(unit) else ()
    return Plan(steps=(*read, *forget, *commands.steps(params, unit, verb)), note=f"{unit.manager}: {unit.detail}")


def _has_failed(unit: Unit) -> bool:
    return unit.phase == "failed" or unit.props.get("Result") == "start-limit-hit"


# -- afterwards -------------------------------------------------------------------------------------------


def verify(params: ServiceRestartParams, before: Facts, after: Facts) -> tuple[str, ...]:
    """Why this is not the success that was wanted."""
    unit, answer = unit_of(before), after.get("settled")
    if unit is None or answer is None or why_unknown(answer):
        return (_not_known(params, answer),)
    problems = alive(unit, answer) or right_life(params, unit, answer)
    return (*problems, *dependants_down(unit, answer), *_unhealthy(params, after))


def _not_known(params: ServiceRestartParams, answer: Any) -> str:
    reason = why_unknown(answer) if answer else None
    return f"how {params.service_name} stands afterwards is not known: {reason or 'nobody was asked'}"


def _unhealthy(params: ServiceRestartParams, after: Facts) -> tuple[str, ...]:
    check = params.health_check
    problem = health_problem(after.get("health"), check.success_threshold) if check else ""
    return (f"the health check fails: {problem}",) if problem else ()


def rollback(params: ServiceRestartParams, before: Facts, after: Facts) -> Plan:
    """Start again what ran before, stop what did not; nothing where the old state stands."""
    unit, answer = unit_of(before), after.get("settled")
    if unit is None or answer is None or why_unknown(answer):
        return Plan(note=f"{_not_known(params, answer)}; nothing is sent blindly")
    now = Unit.of(answer["last"] | {"manager": unit.manager, "target": answer["last"]["target"] or unit.target})
    if not unit.running:
        stop = commands.steps(params, now, "stop") if now.running else ()
        return Plan(steps=stop, note=f"before, {unit.target} was {unit.phase}")
    down = tuple(name for name, _ in dependants_down(unit, answer, named=True))
    others = commands.start_units(params, down)
    if not alive(unit, answer):
        same = now.identity == unit.identity
        note = "the old instance still runs" if same else "a new instance runs; a restart has no other way back"
        return Plan(steps=others, note=note)
    again = commands.steps(params, now, "restart" if now.running else "start")
    return Plan(steps=(*commands.reset_failed(params, now), *again, *others), note=f"{unit.target} ran before")


def restored(params: ServiceRestartParams, before: Facts, after: Facts) -> tuple[str, ...]:
    """Why the old state is not back: running or not, as it was; never the old process."""
    unit, answer = unit_of(before), after.get("settled")
    if unit is None or answer is None or why_unknown(answer):
        return (_not_known(params, answer),)
    last = Unit.of(answer["last"])
    if not unit.running:
        return (f"{unit.target} was {unit.phase} and is {last.detail}",) if last.running else ()
    if unit.phase != "up":
        return () if last.running else (f"{unit.target} was {unit.phase} and is {last.detail}",)
    was_well = not health_problem(before.get("health"), 1)
    health = _unhealthy(params, after) if was_well else ()
    return (*alive(unit, answer), *dependants_down(unit, answer), *health)

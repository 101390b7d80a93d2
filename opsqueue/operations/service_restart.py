"""Restart, reload or start a service, and tell whether it really came back.

What it does: finds out who manages the service, lets known ones check their own configuration, restarts it with
its manager's own command, waits until it is up, watches it for `settle_seconds`, and asks its health check. The
exit code of a restart proves nothing (systemd answers 0 for a unit that dies a second later), so success is: another
identity (InvocationID, or process id and start time) than before, up and the same for the whole settling, and healthy.

How it is undone: a restart cannot be undone; the old process is gone. What a rollback does is to lead back to the old
*state*: a service that ran and is down now has its failures forgotten and is started again; one that was stopped
and that we started is stopped. Units that stopped along with it are started again.

After a crash: nothing is sent again. The service is watched as above. The old identity, still running, says that
the restart did not take effect; the old state stands. A reload leaves a trace only with systemd; with the other
managers a service that still runs counts as reloaded, and the finding `reload_unproven` says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import opsqueue.operations.service_commands as commands
from opsqueue.facts.services import Unit, preflight, service, settled
from opsqueue.model.fact import Fact, Facts, Probe, why_unknown
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import OperationType, Risk, Sort
from opsqueue.model.plan import Plan
from opsqueue.operations.service_findings import analyse, measure
from opsqueue.operations.service_params import HealthCheck, ServiceRestartParams
from opsqueue.operations.service_verdict import (
    alive,
    dependants_down,
    health_problem,
    right_life,
    unit_of,
    verb_for,
)

_PROTECTED = re.compile(
    r"ssh|sshd|dropbear|network|networking|NetworkManager|wpa_supplicant|dbus|dbus-broker|elogind"
    r"|init|systemd-.*|opsqueue.*|celery.*|rc|rcS|single|halt|reboot|poweroff|killprocs|sendsigs|umount.*"
)
_UNITS = (".service", ".socket", ".timer", ".path")
"""The units of systemd that are restarted here; starting `poweroff.target` is no way to start a service."""
_HAS_PREFLIGHT = {"systemd", "sysv"}
"""The managers that run a service with its usual configuration; others may give it another one."""
_CHANGE_S = 30
"""Seconds that a detached restart may take to begin."""
_BASELINE_S = 5.0


def facts(params: ServiceRestartParams) -> tuple[Fact, ...]:
    """How it stands, whether its configuration is good, and whether it is healthy now."""
    found = [service(params.where, params.manager)]
    if params.preflight == "builtin":
        found.append(preflight(params.where))
    if params.health_check is not None:
        found.append(_health(params.health_check, delay=0, timeout=_BASELINE_S, wanted=1))
    return tuple(found)


def after(params: ServiceRestartParams, before: Facts) -> tuple[Fact, ...]:
    """Waits for it to be up, watches it, and asks its health check in the end."""
    unit = unit_of(before)
    if unit is None:
        return facts(params)
    change = _CHANGE_S if _is_detached(params, unit) else 0
    watch = settled(
        params.where,
        unit,
        start_timeout=params.start_timeout_seconds,
        settle=params.settle_seconds,
        change=change,
        lines=params.journal_lines,
    )
    check = params.health_check
    if check is None:
        return (watch,)
    return (
        watch,
        _health(check, delay=params.settle_seconds, timeout=check.timeout_seconds, wanted=check.success_threshold),
    )


def _health(check: HealthCheck, *, delay: float, timeout: float, wanted: int) -> Fact:
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


# -- before -----------------------------------------------------------------------------------------------


def objections(params: ServiceRestartParams, before: Facts) -> tuple[str, ...]:
    """Why nothing may be sent."""
    answer = before["service"]
    unit = unit_of(before)
    if unit is None:
        return (_not_one(params, answer),)
    found = (
        *_about_state(params, unit),
        *_about_systemd(params, unit),
        _about_protection(params, unit),
        _about_preflight(unit, before.get("preflight")),
        _about_health(params, before),
    )
    return tuple(text for text in found if text)


def _not_one(params: ServiceRestartParams, answer: Mapping[str, Any]) -> str:
    name = params.service_name
    if reason := why_unknown(answer):
        return f"the state of {name} could not be read: {reason}"
    evidence = answer["evidence"]
    if answer["found"]:
        known = ", ".join(f"{manager} ({evidence[manager]})" for manager in answer["found"])
        return f"more than one manager knows {name}: {known}; say which with manager=…"
    asked = "; ".join(f"{manager}: {detail}" for manager, detail in evidence.items())
    if answer["unreadable"]:
        return f"{name} was not found, and {', '.join(answer['unreadable'])} could not be asked ({asked})"
    return f"no such service: {name} ({asked})"


def _about_state(params: ServiceRestartParams, unit: Unit) -> tuple[str, ...]:
    if unit.phase == "stopped" and params.when_inactive == "fail":
        return (f"{unit.target} is stopped ({unit.detail}); when_inactive=start would start it, skip leave it",)
    if unit.phase in {"up", "unhealthy"} and not unit.identity:
        return (f"{unit.target} runs, but its process was not found: a restart could not be told; give pid_file",)
    return ()


def _about_systemd(params: ServiceRestartParams, unit: Unit) -> tuple[str, ...]:
    props, name, found = unit.props, unit.target, []
    if unit.manager == "systemd" and not name.endswith(_UNITS):
        found.append(f"{name} is no service; this restarts units that end with {', '.join(_UNITS)}")
    load, verb = props.get("LoadState", "loaded"), verb_for(params, unit)
    if load != "loaded":
        found.append(
            f"{name} is {load}; it cannot be started" if load == "masked" else f"the unit file of {name}: {load}"
        )
    if props.get("Job", "0") not in {"", "0"}:
        found.append(f"systemd already has a job queued for {name} (systemctl list-jobs); wait for it")
    if props.get("system") == "stopping":
        found.append("the host is shutting down")
    if props.get("RefuseManualStart") == "yes" or (props.get("RefuseManualStop") == "yes" and unit.running):
        found.append(f"the unit file of {name} refuses to be started or stopped by hand")
    if verb == "reload" and unit.manager == "systemd" and props.get("CanReload") != "yes":
        found.append(f"{name} cannot reload; action=reload_or_restart would restart it")
    return tuple(found)


def _is_protected(params: ServiceRestartParams, unit: Unit) -> bool:
    names = {params.service_name, unit.target, *unit.props.get("Names", "").split()}
    stems = {_stem(part) for name in names for part in (name, *name.split(":"))}
    return unit.carries_us or any(_PROTECTED.fullmatch(stem) for stem in stems)


def _stem(name: str) -> str:
    base, dot, kind = name.rpartition(".")
    return (base if dot + kind in _UNITS else name).partition("@")[0].partition(":")[0]


def _is_detached(params: ServiceRestartParams, unit: Unit) -> bool:
    ends_it = unit.running and verb_for(params, unit) in {"restart", "stop_start"}
    return unit.manager == "systemd" and ends_it and _is_protected(params, unit)


def _about_protection(params: ServiceRestartParams, unit: Unit) -> str:
    if params.allow_protected or not _is_protected(params, unit):
        return ""
    why = "the worker or its connection runs below it" if unit.carries_us else "this host is reached or run by it"
    return f"{unit.target} is protected: {why}; allow_protected=true restarts it all the same"


def _about_preflight(unit: Unit, answer: Any) -> str:
    if answer is None or unit.manager not in _HAS_PREFLIGHT:
        return ""
    if reason := why_unknown(answer):
        return f"the configuration of {unit.target} could not be checked ({reason}); preflight=none leaves it out"
    if answer["ok"] is False:
        said = f"{answer['command']}: {answer['said']}"
        return f"the configuration of {unit.target} is not good, so it is left running: {said}"
    return ""


def _about_health(params: ServiceRestartParams, before: Facts) -> str:
    if not params.require_healthy_before:
        return ""
    problem = health_problem(before.get("health"), 1)
    return f"it is not healthy before anything was done: {problem}" if problem else ""


def plan(params: ServiceRestartParams, before: Facts) -> Plan:
    """The steps for the state it was found in."""
    unit = unit_of(before)
    if unit is None:
        return Plan(note=_not_one(params, before["service"]))
    if unit.phase == "stopped" and params.when_inactive == "skip":
        return Plan(note=f"{unit.target} is stopped, and when_inactive is skip")
    read = commands.daemon_reload(params) if params.daemon_reload and unit.manager == "systemd" else ()
    verb = verb_for(params, unit)
    if _is_detached(params, unit):
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


OPERATION = OperationKind(
    name=OperationType.SERVICE_RESTART.value,
    summary="Restart, reload or start a service and make sure that it stays up",
    sort=Sort.CHANGING,
    params=ServiceRestartParams,
    facts=facts,
    objections=objections,
    plan=plan,
    after=after,
    verify=verify,
    rollback=rollback,
    restored=restored,
    redo=True,
    measure=measure,
    analyse=analyse,
    risk=lambda _params: Risk.REVERSIBLE,
)

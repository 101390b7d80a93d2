"""Why a service is not restarted: what is said before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opsqueue.facts.services import Unit
from opsqueue.model.fact import Facts, why_unknown
from opsqueue.operations.service.log import storm
from opsqueue.operations.service.params import ServiceRestartParams
from opsqueue.operations.service.verdict import health_problem, unit_of, verb_for

_PROTECTED = re.compile(
    r"ssh|sshd|dropbear|network|networking|NetworkManager|wpa_supplicant|dbus|dbus-broker|elogind"
    r"|init|systemd-.*|opsqueue.*|celery.*|rc|rcS|single|halt|reboot|poweroff|killprocs|sendsigs|umount.*"
)
_UNITS = (".service", ".socket", ".timer", ".path")
"""The units of systemd that are restarted here; starting `poweroff.target` is no way to start a service."""
_HAS_PREFLIGHT = {"systemd", "sysv"}
"""The managers that run a service with its usual configuration; others may give it another one."""


def objections(params: ServiceRestartParams, before: Facts) -> tuple[str, ...]:
    """Why nothing may be sent."""
    answer = before["service"]
    unit = unit_of(before)
    if unit is None:
        return (not_one(params, answer),)
    found = (
        *_about_state(params, unit),
        *_about_systemd(params, unit),
        _about_protection(params, unit),
        "" if params.config_files else _about_preflight(unit, before.get("preflight")),
        _about_health(params, before),
        storm(params, verb_for(params, unit), before.get("starts")),
    )
    return tuple(text for text in found if text)


def not_one(params: ServiceRestartParams, answer: Mapping[str, Any]) -> str:
    """Why it is not known which service is meant."""
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


def is_detached(params: ServiceRestartParams, unit: Unit) -> bool:
    """Whether systemd has to restart it on its own, because it carries our connection."""
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

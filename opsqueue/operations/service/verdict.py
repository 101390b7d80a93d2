"""Judging a service after a restart: alive, another life than before, healthy, and what hangs on it as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsqueue.facts.services import Unit
from opsqueue.model.fact import Facts, why_unknown
from opsqueue.operations.service.params import ServiceRestartParams


def unit_of(before: Facts) -> Unit | None:
    """The service as it was found before; `None` unless exactly one manager knew it."""
    answer = before.get("service")
    if not answer or why_unknown(answer) or answer["unit"] is None:
        return None
    return Unit.of(answer["unit"])


def verb_for(params: ServiceRestartParams, unit: Unit) -> str:
    """What the action comes to for the state it was found in: restart, reload, stop_start or start."""
    if not unit.running:
        return "start"
    if params.action == "reload_or_restart":
        return "reload" if unit.phase == "up" and unit.props.get("CanReload") == "yes" else "restart"
    return params.action


def alive(unit: Unit, answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Problems, when it did not come up or did not stay up."""
    first, last = Unit.of(answer["first"]), Unit.of(answer["last"])
    if last.done:
        return ()
    name = first.target or unit.target
    if first.phase != "up":
        return (f"{name} is not up after {answer['waited']} s: {first.phase}, {first.detail or 'no detail'}",)
    if not answer["changes"]:
        return ()
    anew = last.identity not in {"", first.identity} or (last.restarts or 0) > (first.restarts or 0)
    how = "it crashes and is started anew" if anew or last.phase == "starting" else "it came up and went down"
    readings = f"{answer['changes']} of {answer['samples']} readings were not of the instance that came up"
    return (f"{name} did not stay up: {how}; {readings}; now {last.phase}, {last.detail}",)


def right_life(params: ServiceRestartParams, unit: Unit, answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Problems, when it is up but not the instance that the action should have led to."""
    last, verb = Unit.of(answer["last"]), verb_for(params, unit)
    if not last.identity:
        return (f"{last.target} runs, but its process was not found, so nobody can tell whether it is a new one",)
    same = last.identity == unit.identity
    if verb != "reload":
        what = "start" if verb == "start" else "restart"
        still = f"{last.target} is still the instance {unit.identity}"
        return (f"the {what} did not take effect: {still}",) if same else ()
    if not same:
        return (f"the reload ended the running instance of {last.target}: {unit.identity} became {last.identity}",)
    stamp = "StateChangeTimestampMonotonic"
    if unit.manager == "systemd" and unit.props.get(stamp) == last.props.get(stamp):
        return (f"the reload did not take effect: systemd has not seen {last.target} reload",)
    return ()


def dependants_down(unit: Unit, answer: Mapping[str, Any], *, named: bool = False) -> tuple[Any, ...]:
    """Problems: units that need it, ran before, and do not now; with `named`, pairs of unit and problem."""
    now = Unit.of(answer["last"]).dependants
    down = [
        (name, f"{name} ran before, needs {unit.target}, and is {now[name][0]} now")
        for name, (state, _identity) in unit.dependants.items()
        if state == "active" and name in now and now[name][0] not in {"active", "activating", "reloading"}
    ]
    return tuple(down) if named else tuple(problem for _name, problem in down)


def health_problem(answer: Any, wanted: int) -> str:
    """Why a health check did not succeed `wanted` times in a row; empty when it did, or when nothing was asked."""
    if answer is None:
        return ""
    if reason := why_unknown(answer):
        return reason
    if not answer["ok"]:
        return str(answer.get("detail") or answer.get("error") or "no answer")
    if not answer.get("expected", True):
        return f"it answers with status {answer.get('status')}"
    row = answer.get("in_a_row", 1)
    return "" if row >= wanted else f"it succeeded {row} times in a row, wanted {wanted}"

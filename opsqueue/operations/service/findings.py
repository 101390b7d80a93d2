"""What a restart measured, and what people should know about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from opsqueue.facts.services import Unit
from opsqueue.model.fact import Facts, why_unknown
from opsqueue.model.kind import Analysis, Finding, Metric, Seen
from opsqueue.model.names import Severity
from opsqueue.operations.service.params import ServiceRestartParams
from opsqueue.operations.service.verdict import alive, health_problem, right_life, unit_of, verb_for

_LOG_LINES = 20
_MEMORY_UNKNOWN = 2**63
"""systemd writes 2^64-1 for what it does not count."""


def measure(_params: ServiceRestartParams, before: Facts, after: Facts) -> tuple[Metric, ...]:
    """Downtime, how soon it was up, how often it had to be started anew, memory and tasks, health check time.

    Of a service that did not come up, both times are not known.
    """
    unit, answer = unit_of(before), _settled(after)
    if unit is None or answer is None:
        return ()
    last = Unit.of(answer["last"])
    restarted = last.identity != unit.identity
    first = Unit.of(answer["first"])
    came_up, well = (one.phase == "up" or one.done for one in (first, last))
    return (
        Metric(name="downtime_seconds", value=_downtime(unit, last) if restarted or not well else 0.0, unit="s"),
        Metric(name="up_after_seconds", value=float(answer["waited"]) if came_up else None, unit="s"),
        Metric(name="restarts", value=_float(last.restarts), unit="count"),
        Metric(name="unstable_readings", value=float(answer["changes"]), unit="count"),
        Metric(name="memory_before_bytes", value=_count(unit, "MemoryCurrent"), unit="bytes"),
        Metric(name="memory_bytes", value=_count(last, "MemoryCurrent"), unit="bytes"),
        Metric(name="tasks", value=_count(last, "TasksCurrent"), unit="count"),
        *_health_time(after.get("health")),
    )


def _settled(after: Facts) -> Mapping[str, Any] | None:
    answer = after.get("settled")
    return None if not answer or why_unknown(answer) else answer


def _float(number: int | None) -> float | None:
    return None if number is None else float(number)


def _count(unit: Unit, name: str) -> float | None:
    text = unit.props.get(name, "")
    return float(text) if text.isdigit() and int(text) < _MEMORY_UNKNOWN else None


def _health_time(answer: Any) -> tuple[Metric, ...]:
    if not answer or why_unknown(answer):
        return ()
    return (Metric(name="health_check_ms", value=answer.get("phases", {}).get("total"), unit="ms"),)


def _downtime(unit: Unit, last: Unit) -> float | None:
    """Seconds between the end of the old instance and the start of the new, where the manager keeps both times."""
    if not unit.running or last.phase != "up":
        return None
    if last.manager == "docker" or "finished" in last.props:
        return _between(last.props.get("finished", ""), last.props.get("started", ""))
    ended, began = _count(last, "ActiveExitTimestampMonotonic"), _count(last, "ActiveEnterTimestampMonotonic")
    old = _count(unit, "ActiveEnterTimestampMonotonic")
    if ended is None or began is None or old is None or not old < ended <= began:
        return None
    return (began - ended) / 1e6


def _between(ended: str, began: str) -> float | None:
    try:
        seconds = (datetime.fromisoformat(began) - datetime.fromisoformat(ended)).total_seconds()
    except ValueError:
        return None
    return seconds if seconds >= 0 else None


def analyse(params: ServiceRestartParams, seen: Seen) -> Analysis:
    """Findings about this restart; a score would say nothing."""
    unit = unit_of(seen.before)
    if unit is None:
        return Analysis()
    answer = _settled(seen.after)
    found = [*_about_before(params, unit, seen.before)]
    if answer is not None:
        found += [*_about_life(params, unit, answer, seen.attempts), *_about_stop(unit, answer), *_along(unit, answer)]
    return Analysis(findings=tuple(found))


def _finding(unit: Unit, severity: Severity, code: str, message: str, advice: str = "", **evidence: Any) -> Finding:
    whose = {"service": unit.target, "manager": unit.manager}
    return Finding(severity=severity, code=code, message=message, advice=advice, evidence=whose | evidence)


def _about_before(params: ServiceRestartParams, unit: Unit, before: Facts) -> Iterator[Finding]:
    name = unit.target
    if unit.phase in {"failed", "unhealthy", "starting"}:
        text = f"{name} was not well before: {unit.phase}, {unit.detail}"
        yield _finding(unit, Severity.WARNING, "unwell_before", text, "Look for the cause; a restart may only hide it.")
    if problem := health_problem(before.get("health"), 1):
        yield _finding(unit, Severity.WARNING, "unhealthy_before", f"the health check failed before: {problem}")
    if unit.phase == "stopped" and params.when_inactive == "skip":
        yield _finding(unit, Severity.INFO, "left_stopped", f"{name} is stopped and was left so")
        return
    if params.health_check is None:
        advice = "Give health_check, so that success means that it answers."
        yield _finding(unit, Severity.INFO, "no_health_check", f"only the process of {name} was watched", advice)
    if unit.props.get("NeedDaemonReload") == "yes" and not params.daemon_reload:
        text = f"the unit file of {name} has changed on disk, and systemd still uses the old one"
        yield _finding(unit, Severity.WARNING, "daemon_reload_needed", text, "Run again with daemon_reload=true.")
    if unit.props.get("UnitFileState") == "disabled":
        advice = f"Run `systemctl enable {name}` if it should."
        yield _finding(unit, Severity.WARNING, "not_enabled", f"{name} does not start with the host", advice)
    if verb_for(params, unit) == "restart" and params.action == "restart" and unit.props.get("CanReload") == "yes":
        advice = "With action=reload_or_restart connections are kept where only the configuration changed."
        yield _finding(unit, Severity.INFO, "reload_possible", f"{name} could reload without an interruption", advice)


def _about_life(
    params: ServiceRestartParams, unit: Unit, answer: Mapping[str, Any], attempts: int
) -> Iterator[Finding]:
    problems = alive(unit, answer)
    if problems:
        last = Unit.of(answer["last"])
        loops = bool(answer["changes"]) and (last.phase in {"starting", "up"} or (last.restarts or 0) > 0)
        limit = last.props.get("Result") == "start-limit-hit"
        code = "crash_loop" if loops or limit else "service_down"
        log = answer["log"][-_LOG_LINES:]
        advice = (
            "Its log ends as shown here; `opsqueue show ID --output json` has more of it."
            if log
            else "Look at its log on the host."
        )
        yield _finding(unit, Severity.CRITICAL, code, problems[0], advice, log=log, exit=last.detail)
    elif attempts > 1 and not right_life(params, unit, answer):
        text = f"{unit.target} came up only at attempt {attempts}"
        yield _finding(unit, Severity.WARNING, "succeeded_on_retry", text, "Look at its log for the first failure.")
    if verb_for(params, unit) == "reload" and unit.manager != "systemd" and not problems:
        text = f"{unit.manager} keeps no trace of a reload; that {unit.target} still runs is all that is known"
        yield _finding(unit, Severity.INFO, "reload_unproven", text)


def _about_stop(unit: Unit, answer: Mapping[str, Any]) -> Iterator[Finding]:
    if answer["killed"]:
        text = f"{unit.target} did not stop in time and was killed"
        yield _finding(
            unit, Severity.WARNING, "dirty_stop", text, "See why it does not end on TERM, or raise its limit."
        )
    if answer["leftovers"]:
        text = f"processes of the old instance of {unit.target} still run"
        yield _finding(unit, Severity.WARNING, "leftover_processes", text, "Let its manager end the whole group.")


def _along(unit: Unit, answer: Mapping[str, Any]) -> Iterator[Finding]:
    now = Unit.of(answer["last"]).dependants
    changed = sorted(
        name for name, (_, life) in unit.dependants.items() if name in now and life and now[name][1] != life
    )
    if changed:
        text = f"{len(changed)} units were restarted along with {unit.target}: {', '.join(changed)}"
        yield _finding(unit, Severity.INFO, "dependants_restarted", text, units=changed)

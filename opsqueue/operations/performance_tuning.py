"""Tune a host and prove it: kernel settings, disk schedulers, limits, resources of services, measured before and after.

What it does: `analyse` watches the host and names the resource that everybody waits for (USE method, pressure-stall
figures). `apply` writes down the way back, lets a guard on the host hold it, sets the values one by one, reads each
back, measures with the old and the new values in turn, writes the files that keep them, and calls the guard off.

How it is undone: values in reverse order, files to the byte; where a value is refused, a file is not as wanted, a
benchmark is worse by more than noise, or the host does not answer afterwards. Where the worker does not come back, the
guard does it. `rollback` does it later on request.

After a crash: nothing is sent again. A command that still runs is waited for. Everything set, kept and confirmed is a
success if the measurements say so; anything else is led back. Files are written after the measuring, each in one
rename.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.facts.tuning import tuning
from opsqueue.facts.use import use
from opsqueue.model.fact import Fact, Facts, Probe, unknown, why_unknown
from opsqueue.model.kind import Analysis, Finding, Metric, OperationKind, Seen
from opsqueue.model.names import OperationType, Risk, Severity, Sort
from opsqueue.model.plan import Plan
from opsqueue.operations.service.verdict import health_problem
from opsqueue.operations.tuning import findings as told
from opsqueue.operations.tuning import judge, steps
from opsqueue.operations.tuning.hand import Hand, where_of
from opsqueue.operations.tuning.params import PerformanceTuningParams

_HEALTH_S = 20.0


def facts(params: PerformanceTuningParams) -> tuple[Fact, ...]:
    """What is set, and what the host is busy with."""
    return (tuning(where_of(params)), *_watched(params))


def _watched(params: PerformanceTuningParams) -> tuple[Fact, ...]:
    return (use(params.sample_seconds),) if params.sample_seconds else ()


def after(params: PerformanceTuningParams, before: Facts) -> tuple[Fact, ...]:
    """The same about exactly those settings, and whether the host is healthy."""
    hand = _hand(params, before)
    record = hand.found["undo"] if hand and params.task == "rollback" and not hand.damaged else ()
    health = _health(params) if params.task in {"apply", "rollback"} else ()
    return (tuning(where_of(params, record)), *_watched(params), *health)


def _health(params: PerformanceTuningParams) -> tuple[Fact, ...]:
    address = params.health_check
    if not address:
        return ()
    often = {"successes": 1, "retries": 10, "attempt_timeout": 5.0}
    if "://" in address:
        ask = Probe(kind="http", options={"url": address, "expect_status": [200], **often}, timeout=_HEALTH_S)
    else:
        host, _, port = address.rpartition(":")
        ask = Probe(kind="tcp", options={"host": host.strip("[]"), "port": int(port), **often}, timeout=_HEALTH_S)
    return (Fact(name="health", ask=ask),)


def _known(found: Facts, name: str) -> Mapping[str, Any] | None:
    answer = found.get(name)
    return None if not answer or why_unknown(answer) is not None else answer


def _hand(params: PerformanceTuningParams, before: Facts) -> Hand | None:
    found = _known(before, "tuning")
    return Hand(params=params, found=found) if found else None


def _not_known(found: Facts, name: str = "tuning") -> str:
    answer = found.get(name)
    return f"the host could not be looked at: {why_unknown(answer) if answer else 'nobody was asked'}"


def objections(params: PerformanceTuningParams, before: Facts) -> tuple[str, ...]:
    """Why nothing may be sent."""
    hand = _hand(params, before)
    if hand is None:
        return (_not_known(before),)
    return tuple(judge.objections(hand))


def plan(params: PerformanceTuningParams, before: Facts) -> Plan:
    """The steps, with the old values in them."""
    hand = _hand(params, before)
    return steps.plan(hand) if hand else Plan(note=_not_known(before))


def verify(params: PerformanceTuningParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """Why this is not the success that was wanted."""
    hand, now = _hand(params, before), _known(found, "tuning")
    if hand is None or now is None:
        return (_not_known(found),)
    return (*judge.verify(hand, now), *_unwell(params, found))


def _unwell(params: PerformanceTuningParams, found: Facts) -> Iterator[str]:
    if not params.health_check or params.task not in {"apply", "rollback"}:
        return
    if problem := health_problem(found.get("health", unknown("nobody was asked")), 1):
        yield f"{params.health_check} does not answer as it should: {problem}"


def rollback(params: PerformanceTuningParams, before: Facts, found: Facts) -> Plan:
    """The old values and files; also where the host cannot be looked at, for they are written down."""
    hand, now = _hand(params, before), _known(found, "tuning")
    return (
        steps.undone(hand, scratch=now is None or now.get("scratch", True)) if hand else Plan(note=_not_known(before))
    )


def restored(params: PerformanceTuningParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """What is not as it was."""
    hand, now = _hand(params, before), _known(found, "tuning")
    return tuple(judge.restored(hand, now)) if hand and now else (_not_known(found),)


def measure(params: PerformanceTuningParams, before: Facts, found: Facts) -> tuple[Metric, ...]:
    """What the host was busy with before and after, and every benchmark."""
    was, now, hand, state = (
        _known(before, "use"),
        _known(found, "use"),
        _hand(params, before),
        _known(found, "tuning"),
    )
    rows: list[Metric] = []
    if was and params.task != "analyse":
        rows += told.of_use(was, ":before")
    if now:
        rows += told.of_use(now)
    if hand and state and params.task in {"apply", "benchmark"} and found is not before:
        rows += told.of_benchmarks(hand, state)
    return tuple(rows)


def analyse(params: PerformanceTuningParams, seen: Seen) -> Analysis:
    """The bottleneck, what was set, and whether it made a difference."""
    hand, busy = _hand(params, seen.before), _known(seen.before, "use") or _known(seen.after, "use")
    hand = hand or _hand(params, seen.after)
    found: list[Finding] = list(told.of_state(hand, _known(seen.after, "tuning"))) if hand else []
    if busy:
        found += told.of_bottleneck(busy)
    elif params.sample_seconds:
        text = _not_known(seen.before, "use")
        found.append(Finding(severity=Severity.WARNING, code="not_measured", message=text))
    return Analysis(findings=tuple(found))


def risk(params: PerformanceTuningParams) -> Risk:
    """Looking costs nothing; everything else loads or changes the host, and can be led back."""
    return Risk.READ_ONLY if params.task == "analyse" else Risk.REVERSIBLE


OPERATION = OperationKind(
    name=OperationType.PERFORMANCE_TUNING.value,
    summary="Find the bottleneck, tune kernel, disks, limits and services, and keep what is measured not to be worse",
    sort=Sort.CHANGING,
    params=PerformanceTuningParams,
    facts=facts,
    objections=objections,
    plan=plan,
    after=after,
    verify=verify,
    rollback=rollback,
    restored=restored,
    measure=measure,
    analyse=analyse,
    risk=risk,
)

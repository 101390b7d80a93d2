"""Health check: ask a host's services the way their users do, and judge the answers.

Nothing is changed, so there is nothing to undo, and after a crash it is simply asked again. A check that fails is
a finding, never a failed operation. What each part does: `health/checks.py` (what can be checked),
`health/conditions.py`, `health/asks.py` (the questions), `health/judge.py`, `health/score.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, model_validator

from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Analysis, Finding, Metric, OperationKind, Params, Seen
from opsqueue.model.names import OperationType, Risk, Severity, Sort
from opsqueue.operations.health.asks import answer_to, facts_of
from opsqueue.operations.health.checks import (
    AnyCheck,
    CommandCheck,
    DiskCheck,
    LoadCheck,
    MemoryCheck,
)
from opsqueue.operations.health.judge import Problem, State
from opsqueue.operations.health.score import Judged, in_order, is_up, judge_all, score_of

_NUMBERS = {State.OK: 0.0, State.WARNING: 1.0, State.CRITICAL: 2.0, State.UNKNOWN: 3.0}
_SHOWN = ("status", "error", "failed_phase", "phases", "attempts", "url", "address", "rcode", "answers", "not_after")
_DEFAULT: tuple[AnyCheck, ...] = (
    DiskCheck(kind="disk", name="disk"),
    MemoryCheck(kind="memory", name="memory"),
    LoadCheck(kind="load", name="load"),
)


class HealthCheckParams(Params):
    """Without checks: the disk that holds `/` with its inodes, the memory and the load of the host."""

    checks: tuple[AnyCheck, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _sound(self) -> HealthCheckParams:
        names = [check.name for check in self.checks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"each check has a name of its own; {twice[0]!r} stands twice")
        in_order(self.checks)
        return self

    @property
    def effective(self) -> tuple[AnyCheck, ...]:
        """The checks that are made."""
        return self.checks or _DEFAULT


def facts(params: HealthCheckParams) -> tuple[Fact, ...]:
    """One question for each check."""
    return facts_of(params.effective)


def measure(params: HealthCheckParams, _before: Facts, after: Facts) -> tuple[Metric, ...]:
    """`up`, `health_score`, `response_time` (the slowest), and by check its state, times and certificate."""
    judged = _judge(params, after)
    up = is_up(judged)
    times = [took for one in judged if (took := _took(one)) is not None]
    return (
        Metric(name="up", value=None if up is None else float(up), unit="state"),
        Metric(name="health_score", value=score_of(judged), unit="score"),
        *([Metric(name="response_time", value=max(times), unit="ms")] if times else []),
        *(metric for one in judged for metric in _metrics(one)),
    )


def analyse(params: HealthCheckParams, seen: Seen) -> Analysis:
    """A finding for each thing that is not as wanted, with what was found beside it."""
    judged = _judge(params, seen.after)
    found = [finding for one in judged for finding in _findings(one, seen)]
    return Analysis(findings=tuple(found), score=score_of(judged))


def risk(params: HealthCheckParams) -> Risk:
    """A plugin of somebody's own may write a state file or more; the other checks only look."""
    mine = any(isinstance(check, CommandCheck) for check in params.effective)
    return Risk.REVERSIBLE if mine else Risk.READ_ONLY


def _judge(params: HealthCheckParams, answers: Facts) -> tuple[Judged, ...]:
    return judge_all((check, answer_to(check, answers)) for check in params.effective)


def _answer(one: Judged) -> Mapping[str, Any]:
    """The answer as an object; empty when it is unknown."""
    known = isinstance(one.answer, Mapping) and why_unknown(one.answer) is None
    return one.answer if known else {}


def _took(one: Judged) -> float | None:
    answer = _answer(one)
    return answer.get("phases", {}).get("total") if answer.get("ok") else None


def _metrics(one: Judged) -> Iterator[Metric]:
    name, answer = one.check.name, _answer(one)
    yield Metric(name=f"state:{name}", value=_NUMBERS.get(one.state), unit="state")
    if "phases" in answer:
        yield Metric(name=f"response_time:{name}", value=_took(one), unit="ms")
        yield Metric(name=f"attempts:{name}", value=answer.get("attempts", 1), unit="count")
    days = (answer.get("certificate") or answer).get("days_left")
    if days is not None:
        yield Metric(name=f"cert_days_left:{name}", value=days, unit="days")
    if answer.get("restarts") is not None:
        yield Metric(name=f"restarts:{name}", value=answer["restarts"], unit="count")
    for label, data in answer.get("perfdata", {}).items():
        yield Metric(name=f"perfdata:{name}:{label}", value=data["value"], unit=data["unit"] or "count")


def _findings(one: Judged, seen: Seen) -> Iterator[Finding]:
    if one.state is State.UNREACHABLE:
        yield _unreachable(one, seen)
        return
    for problem in one.problems:
        yield _finding(one, problem, seen)
    yield from _since_last_time(one, seen)


def _finding(one: Judged, problem: Problem, seen: Seen) -> Finding:
    return Finding(
        severity=_severity(one, problem),
        code=problem.code,
        message=f"{one.check.name}: {problem.message}",
        host=seen.host,
        evidence={"check": one.check.name, "state": one.state.value, **_evidence(one)},
        advice=problem.advice,
    )


def _severity(one: Judged, problem: Problem) -> Severity:
    if problem.state is State.UNKNOWN:
        # Not to know how the one thing is that everything hangs on is more than a remark.
        return Severity.WARNING if one.check.critical else Severity.INFO
    return Severity.CRITICAL if problem.state is State.CRITICAL else Severity.WARNING


def _evidence(one: Judged) -> dict[str, Any]:
    answer = _answer(one)
    chosen = {key: answer[key] for key in _SHOWN if answer.get(key) is not None}
    return chosen if "phases" in answer else dict(answer)


def _unreachable(one: Judged, seen: Seen) -> Finding:
    parents = ", ".join(one.because_of)
    return Finding(
        severity=Severity.INFO,
        code="check_unreachable",
        message=f"{one.check.name}: cannot be judged while {parents} is down",
        host=seen.host,
        evidence={"check": one.check.name, "state": one.state.value, "because_of": list(one.because_of)},
        advice=f"Mend {parents} first.",
    )


def _since_last_time(one: Judged, seen: Seen) -> Iterator[Finding]:
    """What only the comparison with the last operation shows."""
    name = one.check.name
    last, now = _earlier(seen, f"state:{name}"), _NUMBERS.get(one.state)
    if last in {_NUMBERS[State.WARNING], _NUMBERS[State.CRITICAL]} and now == _NUMBERS[State.OK]:
        yield Finding(severity=Severity.INFO, code="check_recovered", message=f"{name}: is well again", host=seen.host)
    restarts, before = _answer(one).get("restarts"), _earlier(seen, f"restarts:{name}")
    if restarts is not None and before is not None and restarts > before:
        yield Finding(
            severity=Severity.WARNING,
            code="service_restarts_rising",
            message=f"{name}: started anew {restarts - before:.0f} times since the last check",
            host=seen.host,
            evidence={"check": name, "restarts": restarts, "before": before},
            advice="Look in the log of the service why it ends.",
        )


def _earlier(seen: Seen, name: str) -> float | None:
    metric = seen.earlier.get(name)
    return metric.value if metric else None


OPERATION = OperationKind(
    name=OperationType.HEALTH_CHECK.value,
    summary="Checks web servers, ports, certificates, names, processes, services, disks and commands of a host",
    sort=Sort.LOOKING,
    params=HealthCheckParams,
    facts=facts,
    measure=measure,
    analyse=analyse,
    risk=risk,
)

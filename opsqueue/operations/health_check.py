"""Health check: ask a host's services the way their users do, and judge the answers.

Nothing is changed, so there is nothing to undo, and after a crash it is simply asked again. A check that fails is
a finding, never a failed operation. What each part does: `health/checks.py` and `health/servers.py` (what can be
checked), `health/conditions.py`, `health/asks.py` (the questions), `health/judge.py`, `health/score.py`,
`health/streak.py` (soft and hard), `health/times.py` (percentiles), `health/tell.py` (findings).
"""

from __future__ import annotations

from pydantic import Field, model_validator

from opsqueue.model.fact import Fact, Facts
from opsqueue.model.kind import Analysis, Metric, OperationKind, Params, Seen
from opsqueue.model.names import OperationType, Risk, Sort
from opsqueue.model.report import Section
from opsqueue.model.sample import SeriesWanted
from opsqueue.operations.health import show
from opsqueue.operations.health.asks import answer_to, facts_of
from opsqueue.operations.health.check import Check
from opsqueue.operations.health.checks import AnyCheck, CommandCheck, DiskCheck, LoadCheck, MemoryCheck
from opsqueue.operations.health.numbers import numbers_of
from opsqueue.operations.health.score import Judged, in_order, is_up, judge_all, score_of
from opsqueue.operations.health.streak import Limits, Standing, standing, streak_metrics
from opsqueue.operations.health.tell import findings_of
from opsqueue.operations.health.times import Times, slower, times_metrics, times_of, wanted

_DEFAULT: tuple[AnyCheck, ...] = (
    DiskCheck(kind="disk", name="disk"),
    MemoryCheck(kind="memory", name="memory"),
    LoadCheck(kind="load", name="load"),
)


class HealthCheckParams(Params):
    """Without checks: the disk that holds `/` with its inodes, the memory and the load of the host."""

    checks: tuple[AnyCheck, ...] = Field(default=(), max_length=100)
    concurrency: int = Field(default=10, ge=1, le=50)
    """Checks at once: so many over the network, and so many on each host."""
    failure_threshold: int = Field(default=3, ge=1, le=100)
    """Failures in a row until a check that was up counts as down; before that they are warnings."""
    success_threshold: int = Field(default=2, ge=1, le=100)
    """Successes in a row until a check that was down counts as up again."""

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
    return facts_of(params.effective, params.concurrency)


def measure(params: HealthCheckParams, _before: Facts, after: Facts) -> tuple[Metric, ...]:
    """`up`, `health_score`, and what the answers hold."""
    judged = _judge(params, after)
    up = is_up(judged)
    return (
        Metric(name="up", value=None if up is None else float(up), unit="state"),
        Metric(name="health_score", value=score_of(judged), unit="score"),
        *numbers_of(judged),
    )


def series(params: HealthCheckParams) -> tuple[SeriesWanted, ...]:
    """The response times of the last day and week."""
    return wanted(params.effective)


def analyse(params: HealthCheckParams, seen: Seen) -> Analysis:
    """A finding for each thing that is not as wanted, and how each check stands beside what it was before."""
    found, numbers = [], []
    for one, times in _standings(params, seen):
        found += [*findings_of(one, seen), *slower(one.judged.check.name, times)]
        numbers += [*streak_metrics(one), *times_metrics(one.judged.check.name, times)]
    return Analysis(findings=tuple(found), score=score_of(_judge(params, seen.after)), metrics=tuple(numbers))


def report(params: HealthCheckParams, seen: Seen) -> tuple[Section, ...]:
    """A table of all checks, and a chart for each that has response times."""
    return show.sections(_standings(params, seen), seen)


def risk(params: HealthCheckParams) -> Risk:
    """A plugin of somebody's own may write a state file or more, a write test writes; the other checks only look."""
    return Risk.REVERSIBLE if any(map(_more_than_a_look, params.effective)) else Risk.READ_ONLY


def _more_than_a_look(check: Check) -> bool:
    return isinstance(check, CommandCheck) or (isinstance(check, DiskCheck) and check.write_test)


def _judge(params: HealthCheckParams, answers: Facts) -> tuple[Judged, ...]:
    return judge_all((check, answer_to(check, answers)) for check in params.effective)


def _standings(params: HealthCheckParams, seen: Seen) -> list[tuple[Standing, Times]]:
    limits = Limits(failures=params.failure_threshold, successes=params.success_threshold)
    judged = _judge(params, seen.after)
    return [(standing(one, seen, limits), times_of(one.check.name, seen.series)) for one in judged]


OPERATION = OperationKind(
    name=OperationType.HEALTH_CHECK.value,
    summary="Checks web servers, ports, certificates, names, processes, services, disks and commands of a host",
    sort=Sort.LOOKING,
    params=HealthCheckParams,
    facts=facts,
    measure=measure,
    series=series,
    alike=True,
    analyse=analyse,
    report=report,
    risk=risk,
)

"""An operation type: a frozen record of pure functions, written once per kind of work.

The public enum of names is `OperationType`; this record is what stands behind each name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from opsqueue.model.fact import Fact, Facts
from opsqueue.model.names import Risk, Severity, Sort
from opsqueue.model.observed import Occasions
from opsqueue.model.plan import NOTHING, Plan
from opsqueue.model.report import Section
from opsqueue.model.sample import Series, SeriesWanted


class Params(BaseModel):
    """Base of every type's parameters: frozen, unknown keys refused, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=4096)


NO_TEMPLATE = "braces are not filled in: write the address itself, for one host in its `parameters`"
"""What is said of an address such as `http://{address}/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number with its unit (percent, bytes, bytes/s, ms, s, count…). `None` is not known, never zero."""

    name: str
    value: float | None
    unit: str

    @property
    def usable(self) -> bool:
        """Whether it is a finite number, or not known: NaN passes every limit, and JSON has no such number."""
        try:
            return self.value is None or math.isfinite(self.value)
        except OverflowError:  # an integer that is larger than any float
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a person or an alert rule should hear of."""

    severity: Severity
    code: str
    """A stable word for programs, such as `disk_usage_high`."""
    message: str
    host: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""


def _nothing_known(_since: float) -> Occasions:
    return Occasions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that the analysis of one target may look at."""

    host: str
    before: Facts
    after: Facts
    metrics: Mapping[str, Metric]
    earlier: Mapping[str, Metric]
    """The metrics of the last operation of this type on this host (with the same parameters, where the type says
    `alike`); empty the first time."""
    thresholds: Mapping[str, float]
    """`alert_thresholds` of the configuration: cpu_usage, memory_usage, disk_usage (percent), response_time (ms)."""
    attempts: int = 1
    at: float = 0.0
    """When the facts were asked, UNIX time."""
    series: Mapping[str, Series] = field(default_factory=dict)
    """What the type's `series` wanted of this host's past, by the name it gave."""
    earlier_findings: tuple[Mapping[str, Any], ...] | None = None
    """The findings about this host of the last operation of this type with the same parameters; None: there was none,
    or the type does not say `compares`."""
    hosts: int = 1
    """How many hosts the operation judges; what is found on all of them is kept in one row."""
    occasions: Callable[[float], Occasions] = _nothing_known
    """What was done to this host, and what fired for it, from this UNIX time until `at`; read when it is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What follows from one target's facts. `score` is 0 to 100, `None` where a score makes no sense."""

    findings: tuple[Finding, ...] = ()
    score: float | None = None
    metrics: tuple[Metric, ...] = ()
    """Numbers that only the past tells, such as a trend; kept beside those that were measured."""


def _nothing_to_plan(_params: Any, _facts: Facts) -> Plan:
    return NOTHING


def _no_problems(_params: Any, _before: Facts, _after: Facts) -> tuple[str, ...]:
    return ()


def _no_objection(_params: Any, _facts: Facts) -> tuple[str, ...]:
    return ()


def _no_rollback(_params: Any, _before: Facts, _after: Facts) -> Plan:
    return Plan(note="there is nothing that could lead back")


def _no_metrics(_params: Any, _before: Facts, _after: Facts) -> tuple[Metric, ...]:
    return ()


def _no_analysis(_params: Any, _seen: Seen) -> Analysis:
    return Analysis()


def _no_series(_params: Any) -> tuple[SeriesWanted, ...]:
    return ()


def _no_report(_params: Any, _seen: Seen) -> tuple[Section, ...]:
    return ()


def _no_overview(_metrics: Mapping[str, Mapping[str, Metric]]) -> tuple[Section, ...]:
    return ()


def only_reads(_params: Any) -> Risk:
    """The risk of a type that changes nothing, whatever its parameters."""
    return Risk.READ_ONLY


def _never(_params: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationKind:
    """What the kernel asks of a kind of work. All functions are pure: no clock, no random, no I/O."""

    name: str
    summary: str
    sort: Sort
    params: type[Params]
    desk: bool = False
    """Its questions and commands go to the record of opsqueue, in the name of its hosts: no host is connected to."""
    facts: Callable[[Any], tuple[Fact, ...]]
    """Asked before planning (changing, making), or as the whole work (looking)."""
    objections: Callable[[Any, Facts], tuple[str, ...]] = _no_objection
    """Preconditions that do not hold, in words; any of them fails the operation at verify."""
    plan: Callable[[Any, Facts], Plan] = _nothing_to_plan
    after: Callable[[Any, Facts], tuple[Fact, ...]] | None = None
    """Asked after the steps, given `before`; the same as `facts` unless said. May wait on the host until it settled."""
    verify: Callable[[Any, Facts, Facts], tuple[str, ...]] = _no_problems
    """Problems in words (params, before, after); none is good."""
    rollback: Callable[[Any, Facts, Facts], Plan] = _no_rollback
    """The plan that leads back from `after` to `before`."""
    restored: Callable[[Any, Facts, Facts], tuple[str, ...]] = _no_problems
    """Problems in words after a rollback (params, before, after); none: the old state is back."""
    redo: bool = False
    """A failed try is planned and sent again as it stands; otherwise it is rolled back before it is tried again."""
    measure: Callable[[Any, Facts, Facts], tuple[Metric, ...]] = _no_metrics
    series: Callable[[Any], tuple[SeriesWanted, ...]] = _no_series
    """What the analysis wants to see of a host's past."""
    compares: bool = False
    """Whether the analysis wants the findings of before."""
    alike: bool = False
    """Whether `Seen.earlier` is of an operation with the same parameters; else of any of this type."""
    analyse: Callable[[Any, Seen], Analysis] = _no_analysis
    report: Callable[[Any, Seen], tuple[Section, ...]] = _no_report
    """What `opsqueue report` shows of one target beside findings and metrics."""
    overview: Callable[[Mapping[str, Mapping[str, Metric]]], tuple[Section, ...]] = _no_overview
    """What it shows of all targets together, from their metrics by host and name."""
    risk: Callable[[Any], Risk] = only_reads
    looks: Callable[[Any], bool] = _never
    """Whether a changing type only looks with these parameters; it then passes the gates that protect against change,
    and `plan` is not asked."""

    @property
    def looking(self) -> bool:
        """Whether it changes nothing."""
        return self.sort is Sort.LOOKING

    def facts_after(self, params: Any, before: Facts) -> tuple[Fact, ...]:
        """The facts that tell whether the work was done."""
        return self.after(params, before) if self.after else self.facts(params)

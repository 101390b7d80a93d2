"""Measure a host once, and say what stands out.

Changes nothing, so there is nothing to undo, and after a crash it is simply asked again. Percentages and rates
are differences of two samples in the same trip; what is not known is `None` and never 0. A finding is not a
failure: the operation has succeeded when the host was looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from opsqueue.facts.system import NAME, UP, system_metrics, system_reading
from opsqueue.model.fact import Fact, Facts, Probe
from opsqueue.model.kind import Analysis, Finding, Metric, OperationKind, Params, Seen
from opsqueue.model.names import Sort
from opsqueue.model.report import Section
from opsqueue.model.sample import SeriesWanted
from opsqueue.operations.system_past import unlike_last_week, wanted
from opsqueue.operations.system_rules import View, judge, restarted, state, unreadable
from opsqueue.operations.system_show import drawn, overview, sections

Subject = Literal[
    "cpu", "memory", "swap", "disk", "inodes", "load", "network", "io", "pressure", "processes", "fd", "clock"
]
Percent = Annotated[float, Field(ge=0, le=100)]
Pattern = Annotated[str, Field(min_length=1, max_length=200)]

_LONGEST_S = 120
"""Seconds that one trip may measure."""
_MOST_UNKNOWN = 0.2
"""Share of the subjects that may be unknown before no score is given."""
_MOST_SCORE: Mapping[float | None, float] = {0.0: 49.0, 0.5: 79.0}
"""By the worst state: a good mean hides no critical finding."""


def _target(text: str) -> str:
    """An http(s) URL without a password in it, or HOST:PORT, [v6]:PORT."""
    url = urlsplit(text)
    if url.scheme in {"http", "https"} and url.hostname and not re.search(r"[\s\x00-\x1f]", text):
        if url.username or url.password:
            raise ValueError("a URL to measure holds no user and no password, because it is shown to everybody")
        return text
    _host_and_port(text)
    return text


def _host_and_port(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)]|([A-Za-z0-9._-]+)):(\d{1,5})", text)
    if not found or not 0 < int(found[3]) < 1 << 16:
        raise ValueError("a response target is an http:// or https:// URL, or HOST:PORT with a port of 1 to 65535")
    return found[1] or found[2], int(found[3])


class Thresholds(Params):
    """Limits in percent, `response_time` in ms; what is not given is taken from `alert_thresholds`."""

    cpu_usage: Percent | None = None
    memory_usage: Percent | None = None
    disk_usage: Percent | None = None
    response_time: float | None = Field(default=None, gt=0)
    inode_usage: Percent = 90.0
    swap_usage: Percent = 80.0
    iowait: Percent = 30.0
    steal: Percent = 10.0
    open_files: Percent = 70.0
    pressure: Percent = 25.0
    """Share of the last 10 s in which something waited for CPU, memory or disk."""
    load_per_cpu: float = Field(default=2.0, gt=0)
    network_errors: float = Field(default=0.01, ge=0, le=1)
    """Share of all packets."""
    zombies: int = Field(default=10, ge=0)
    clock_skew_s: float = Field(default=5.0, gt=0)


class SystemMonitoringParams(Params):
    """What to look at, and from where on it is too much."""

    metrics: tuple[Subject, ...] = Field(
        default=(
            "cpu", "memory", "swap", "disk", "inodes", "load", "network", "io", "pressure", "processes",
        ),
        min_length=1,
    )  # fmt: skip
    sample_gap_s: float = Field(default=1.0, ge=0.01, le=10)
    """Seconds between the two samples."""
    samples: int = Field(default=1, ge=1, le=60)
    """Stretches of `sample_gap_s`, one after another in the same trip: rates are of all together, with their peaks."""
    mounts_include: tuple[Pattern, ...] = ()
    """When given, only these mounts, whatever they are."""
    mounts_exclude: tuple[Pattern, ...] = ("/run*", "/dev*", "/sys*", "/proc*", "/var/lib/docker/*")
    fstypes_exclude: tuple[Pattern, ...] = ("tmpfs", "devtmpfs", "overlay", "squashfs")
    interfaces_exclude: tuple[Pattern, ...] = ("lo", "veth*", "docker*", "br-*")
    top_processes: int = Field(default=5, ge=0, le=20)
    response_targets: tuple[Annotated[str, AfterValidator(_target)], ...] = Field(default=(), max_length=50)
    """URLs or HOST:PORT that are tried from the worker."""
    thresholds: Thresholds = Thresholds()
    timeout_s: int = Field(default=20, ge=1, le=300)
    """Seconds for the reading, and for each response target."""

    @model_validator(mode="after")
    def _within_a_trip(self) -> SystemMonitoringParams:
        seconds = self.samples * self.sample_gap_s
        if seconds > _LONGEST_S:
            raise ValueError(
                f"samples times sample_gap_s is at most {_LONGEST_S} s, for it holds a connection and a worker; "
                f"found {seconds:g} s. Look more often instead: a schedule"
            )
        return self


# -- facts --------------------------------------------------------------------------------------------------


def facts(params: SystemMonitoringParams) -> tuple[Fact, ...]:
    """The reading, and one probe for each response target."""
    options = params.model_dump(
        include={
            "sample_gap_s", "samples", "mounts_include", "mounts_exclude", "fstypes_exclude",
            "interfaces_exclude", "top_processes",
        }
    )  # fmt: skip
    named = ["disk" if name == "inodes" else name for name in params.metrics]
    limits = ["cgroup"] if {"cpu", "memory"} & set(named) else []
    subjects = tuple(dict.fromkeys(["host", *named, *limits, "clock", "way"]))
    timeout = params.timeout_s + int(params.sample_gap_s * params.samples)
    reading = system_reading(timeout=timeout, subjects=subjects, **options)
    return (reading, *(_probe(target, params.timeout_s) for target in dict.fromkeys(params.response_targets)))


def _probe(target: str, seconds: int) -> Fact:
    if "://" in target:
        options: dict[str, Any] = {"url": target, "max_bytes": 4096, "expect_status": list(range(200, 400))}
        ask = Probe(kind="http", options=options, timeout=seconds)
    else:
        host, port = _host_and_port(target)
        ask = Probe(kind="tcp", options={"host": host, "port": port}, timeout=seconds)
    return Fact(name=f"response:{target}", ask=ask, parse=_brief)


def _brief(answer: Any) -> dict[str, Any]:
    """Without headers and body: they are not wanted here and may hold what nobody should keep."""
    kept = ("ok", "error", "detail", "failed_phase", "status", "expected", "phases", "unknown")
    return {key: answer[key] for key in kept if key in answer}


def _found(before: Facts, after: Facts) -> Facts:
    """A looking operation has one set of answers; the newer one counts where there are two."""
    return after if NAME in after else before


# -- numbers ------------------------------------------------------------------------------------------------


def measure(params: SystemMonitoringParams, before: Facts, after: Facts) -> tuple[Metric, ...]:
    """That it is up, the numbers of the reading, and `response_time` (the slowest) and `response_time:TARGET` in ms."""
    found = _found(before, after)
    times = {target: _response_ms(found, target) for target in dict.fromkeys(params.response_targets)}
    rows = [Metric(name=f"response_time:{target}", value=value, unit="ms") for target, value in times.items()]
    if rows:
        slowest = max((value for value in times.values() if value is not None), default=None)
        rows.insert(0, Metric(name="response_time", value=slowest, unit="ms"))
    hidden = () if "inodes" in params.metrics else ("inode_usage",)
    shown = hidden if "disk" in params.metrics else (*hidden, "disk_usage", "disk_available")
    system = (metric for metric in system_metrics(found) if metric.name.partition(":")[0] not in shown)
    up = [Metric(name=UP, value=1.0, unit="state")] if NAME in found else []
    return (*up, *system, *rows)


def _response_ms(found: Facts, target: str) -> float | None:
    answer = found.get(f"response:{target}", {})
    return answer.get("phases", {}).get("total") if answer.get("ok") else None


def series(params: SystemMonitoringParams) -> tuple[SeriesWanted, ...]:
    """The last hours and days of what has limits, the same hour of last week, and the day that a report shows."""
    return (*wanted(_asked(params)), *drawn(_asked(params)))


def _asked(params: SystemMonitoringParams) -> list[str]:
    return [*dict.fromkeys(params.metrics), *(["response"] if params.response_targets else [])]


# -- findings -----------------------------------------------------------------------------------------------


def analyse(params: SystemMonitoringParams, seen: Seen) -> Analysis:
    """Findings of all subjects, and a score that never hides a critical one."""
    view, asked = _view(params, seen), _asked(params)
    judged = [judge(name, view) for name in asked]
    # The clock is always looked at: what is measured is filed under the worker's time.
    clock = [] if "clock" in asked or view.value("clock_skew") is None else judge("clock", view)[0]
    found = [*(finding for some, _state in judged for finding in some), *clock, *unlike_last_week(asked, seen)]
    findings = [*unreadable(view), *restarted(view), *found]
    return Analysis(findings=tuple(findings), score=_score([one for _found, one in judged], findings))


def _view(params: SystemMonitoringParams, seen: Seen) -> View:
    own = {name: value for name, value in params.thresholds.model_dump().items() if value is not None}
    return View(seen=seen, found=_found(seen.before, seen.after), limits={**seen.thresholds, **own})


def report(params: SystemMonitoringParams, seen: Seen) -> tuple[Section, ...]:
    """What is nearest to its limit, the busiest processes, and the last day in charts."""
    return tuple(sections(_asked(params), _view(params, seen)))


def _score(states: Sequence[float | None], findings: Sequence[Finding]) -> float | None:
    """The mean of what is known, at most 49 with a critical finding and 79 with a warning."""
    known = [one for one in states if one is not None]
    if not known or 1 - len(known) / len(states) > _MOST_UNKNOWN:
        return None
    most = _MOST_SCORE.get(state(findings), 100.0)
    return round(min(100.0 * sum(known) / len(known), most), 1)


OPERATION = OperationKind(
    name="system_monitoring",
    summary="Measures CPU, memory, disks, load, network, pressure, processes and response times of a host",
    sort=Sort.LOOKING,
    params=SystemMonitoringParams,
    facts=facts,
    measure=measure,
    series=series,
    analyse=analyse,
    report=report,
    overview=overview,
)

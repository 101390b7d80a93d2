"""Say when a host runs out of room, with a range, from its own past; what helps, what is spare, what would be if.

Changes nothing, so there is nothing to undo, and after a crash it is simply asked again. Parts: `capacity/days.py`
(which days can be compared), `capacity/forecast.py` (how), `capacity/outlook.py` (when), `capacity/advice.py`,
`capacity/cost.py`, `capacity/what_if.py`, `capacity/scorecard.py` (how good earlier forecasts were).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsqueue.facts.capacity import directories, volumes
from opsqueue.facts.system import subject, system_reading
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Analysis, Metric, OperationKind, Seen
from opsqueue.model.names import OperationType, Sort
from opsqueue.model.sample import SeriesWanted
from opsqueue.operations.capacity.days import DAY
from opsqueue.operations.capacity.findings import of_cost, of_outlooks, of_scores, of_what_ifs
from opsqueue.operations.capacity.loads import LOOKED_AT, load
from opsqueue.operations.capacity.outlook import Outlook, outlooks
from opsqueue.operations.capacity.params import CapacityPlanningParams
from opsqueue.operations.capacity.scorecard import AHEAD, PREFIX, Scorecard, forecasts, scorecards
from opsqueue.operations.capacity.sections import overview, report
from opsqueue.operations.capacity.what_if import outcomes

_DAILY = (
    "disk_usage:*", "disk_available:*", "inode_usage:*", "memory_usage", "swap_usage", "cpu_usage",
    "network_receive:*", "network_send:*", "uptime", "up", "directory_size:*",
)  # fmt: skip


def facts(params: CapacityPlanningParams) -> tuple[Fact, ...]:
    """What there is now: mounts, memory, cores, volume groups; sizes of directories if they are wanted."""
    options = {"mounts_include": list(params.mounts_include)} if params.mounts_include else {}
    subjects = ("host", "disk", "memory", "swap")
    reading = system_reading(timeout=params.timeout_s, subjects=subjects, sample_gap_s=0.0, top_processes=0, **options)
    sudo, seconds = params.use_sudo, params.timeout_s
    sizes = (directories(params.directories, sudo=sudo, timeout=seconds),) if params.directories else ()
    return (reading, volumes(sudo=sudo, timeout=seconds), *sizes)


def series(params: CapacityPlanningParams) -> tuple[SeriesWanted, ...]:
    """The days of everything, the minutes of what is used in bursts, and what earlier runs foretold."""
    back = float(params.history_days * DAY)
    return (
        SeriesWanted(name="days", metrics=(*_DAILY, *params.limits), ago=back, step=DAY),
        SeriesWanted(name="minutes", metrics=("cpu_usage", "memory_usage"), ago=float(LOOKED_AT), step=300),
        SeriesWanted(name="forecasts", metrics=(f"{PREFIX}*",), ago=back + max(AHEAD) * DAY, step=DAY),
    )


def measure(params: CapacityPlanningParams, before: Facts, after: Facts) -> tuple[Metric, ...]:
    """What there is: bytes of the mounts and the memory, cores, and bytes of the directories."""
    found = after or before
    disk, host = subject(found, "disk"), subject(found, "host")
    rows = [
        Metric(name=f"disk_total:{one['mount']}", value=one.get("total"), unit="bytes")
        for one in ([] if why_unknown(disk) is not None else disk.get("mounts", []))
    ]
    if why_unknown(host) is None:
        rows.append(Metric(name="cpus", value=host.get("cpus"), unit="count"))
        rows.append(Metric(name="memory_total", value=host.get("memory_total"), unit="bytes"))
    sizes = found.get("directories", {})
    known = why_unknown(sizes) is None
    for path in params.directories:
        value = sizes.get(path) if known else None
        rows.append(Metric(name=f"directory_size:{path}", value=value, unit="bytes"))
    return tuple(rows)


def analyse(params: CapacityPlanningParams, seen: Seen) -> Analysis:
    """What runs out, what helps, how good earlier forecasts were; and the forecasts of today, to be judged later."""
    every = outlooks(params, seen)
    cards = [card for one in every for card in scorecards(one, seen)]
    found = (
        *of_outlooks(params, seen, every),
        *of_what_ifs(outcomes(params, seen, every)),
        *of_scores(params, cards),
        *of_cost(params, seen),
    )
    return Analysis(findings=found, metrics=tuple(_metrics(params, seen, every, cards)))


def _metrics(
    params: CapacityPlanningParams, seen: Seen, every: Sequence[Outlook], cards: Sequence[Scorecard]
) -> Iterator[Metric]:
    for one in every:
        yield from _of_outlook(one)
        yield from forecasts(one, params.interval)
    for name in ("cpu_usage", "memory_usage"):
        if used := load(seen, name, params.percentile, params.cost_percentile):
            yield Metric(name=f"p{params.percentile:g}:{name}", value=round(used.percentile, 3), unit="percent")
    for card in cards:
        if card.error is not None and card.coverage is not None:
            yield Metric(name=f"forecast_error:{card.name}:{card.ahead}d", value=round(card.error, 4), unit="")
            yield Metric(name=f"forecast_coverage:{card.name}:{card.ahead}d", value=card.coverage, unit="percent")


def _of_outlook(one: Outlook) -> Iterator[Metric]:
    """Nothing at all where there is no forecast, and no date where there is none; no days left where it is reached."""
    if one.found is None:
        return
    yield Metric(name=f"growth_per_day:{one.name}", value=round(one.found.growth, 6), unit=f"{one.course.unit}/day")
    yield Metric(name=f"headroom:{one.name}", value=round(one.threshold - one.last, 4), unit=one.course.unit)
    if one.crossing and (one.dated or one.reached):
        days = one.crossing
        for part, value in (("", days.likely), ("_earliest", days.earliest), ("_latest", days.latest)):
            yield Metric(name=f"days_to_threshold{part}:{one.name}", value=value, unit="days")


OPERATION = OperationKind(
    name=OperationType.CAPACITY_PLANNING.value,
    summary="Says when disks, inodes, memory, swap and CPU run out, with a range, what helps, and what is spare",
    sort=Sort.LOOKING,
    params=CapacityPlanningParams,
    facts=facts,
    measure=measure,
    series=series,
    analyse=analyse,
    report=report,
    overview=overview,
)

"""All figures of one period, from what was read of it: the same facts give the same figures, whoever reckons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from opsqueue.kpi import availability, incidents, security, work
from opsqueue.kpi.availability import Availability
from opsqueue.kpi.definitions import DEFINITIONS
from opsqueue.kpi.period import Period
from opsqueue.kpi.spans import rank
from opsqueue.model.names import OperationType, Severity
from opsqueue.model.observed import Busy, Change, Ended, Incident, Responses, Scan, Seen, Span

_HOUR, _DAY = 3600.0, 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was read of a period, and of as much before it as is needed to judge it."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    planned: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    """All that touch the period, or began within an hour after it."""
    work: tuple[Ended, ...] = ()
    changes: tuple[Change, ...] = ()
    """Hosts with incidents that operations of the period changed."""
    responses: Responses = field(default_factory=Responses)
    scans: tuple[Scan, ...] = ()
    """All until the end of the period, from the first on."""
    busy: tuple[Busy, ...] | None = None
    """None: it was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How it is reckoned."""

    stale: float = 900.0
    """Seconds after which a look at a host says nothing any more."""
    objective: float = 99.9
    """Percent of availability that was promised."""
    processes: Mapping[str, int] = field(default_factory=dict)
    """How many processes a worker has, by the first word of its name."""
    least: int = 20
    """Fewer samples than this make a number that is told with care."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number; None where there is no data for it."""

    name: str
    value: float | None
    n: int
    note: str = ""
    parts: Mapping[str, tuple[float | None, int]] = field(default_factory=dict)
    """The same number for parts of the whole, each with its own sample size."""


def reckon(facts: Facts, period: Period, now: float, terms: Terms) -> tuple[Figure, ...]:
    """Every figure of the catalogue, in its order."""
    until = period.until(now)
    hosts = _hosts(facts, period.start, until, terms)
    found = {
        one.name: one
        for figures in (
            _availability(hosts, period, terms),
            _incidents(facts, availability.together(hosts.values()), period.start, until),
            _changes(facts, until),
            _work(facts, period.start, until, terms),
            _responses(facts.responses),
            _security(facts, period.start, until),
        )
        for one in figures
    }
    return tuple(_with_care(found[one.name], terms.least) for one in DEFINITIONS)


def _with_care(figure: Figure, least: int) -> Figure:
    if figure.value is None or figure.note or figure.n >= least or figure.name in _COUNTED:
        return figure
    return Figure(
        name=figure.name, value=figure.value, n=figure.n, parts=figure.parts, note=f"few samples: {figure.n} of {least}"
    )


_COUNTED = frozenset(
    {"error_budget", "incidents", "incidents_open", "security_open", "security_critical", "security_oldest"}
    | {"error_budget_used", "security_opened", "security_closed"}
)
"""What is counted or told, not sampled: few of them make it no less certain."""


# -- availability -------------------------------------------------------------------------------------------


def _hosts(facts: Facts, since: float, until: float, terms: Terms) -> dict[str, Availability]:
    """Each host of which anything is known in this time."""
    found = availability.of_all(facts.seen, facts.planned, since, until, terms.stale)
    return {name: one for name, one in sorted(found.items()) if one.up + one.down > 0}


def _availability(hosts: Mapping[str, Availability], period: Period, terms: Terms) -> Iterator[Figure]:
    all_of_them = availability.together(hosts.values())
    looks, share = all_of_them.looks, all_of_them.without_planned
    yield Figure(
        name="availability_raw", value=all_of_them.raw, n=looks, parts={h: (a.raw, a.looks) for h, a in hosts.items()}
    )
    by_host = {name: (one.without_planned, one.looks) for name, one in hosts.items()}
    note = "planned maintenance was the whole time" if hosts and share is None else ""
    yield Figure(name="availability", value=share, n=looks, parts=by_host, note=note)
    yield Figure(name="unknown_time", value=all_of_them.unknown, n=looks)
    yield from _budget(all_of_them, len(hosts), period, terms)


def _budget(found: Availability, hosts: int, period: Period, terms: Terms) -> Iterator[Figure]:
    left_over = 1 - terms.objective / 100
    allowed = period.seconds * left_over
    note = f"for an objective of {terms.objective:g} %"
    yield Figure(name="error_budget", value=allowed, n=hosts, note=note)
    known = found.up_unplanned + found.down_unplanned > 0
    used = 100 * found.down_unplanned / (allowed * hosts) if known and allowed else None
    yield Figure(name="error_budget_used", value=used, n=hosts)
    share = found.without_planned
    rate = (100 - share) / (100 * left_over) if share is not None and left_over else None
    yield Figure(name="burn_rate", value=rate, n=found.looks)


# -- incidents and changes ----------------------------------------------------------------------------------


def _incidents(facts: Facts, hosts: Availability, since: float, until: float) -> Iterator[Figure]:
    found, looks = incidents.merged(facts.incidents), hosts.looks
    looked = looks > 0 or bool(found)
    begun, ended = incidents.begun(found, since, until), incidents.restored(found, since, until)
    yield Figure(name="incidents", value=float(len(begun)) if looked else None, n=looks)
    there = incidents.still_open(found, until)
    named = ", ".join(sorted({one.host for one in there}))
    yield Figure(name="incidents_open", value=float(len(there)) if looked else None, n=looks, note=named)
    yield from _three("mttr", incidents.between(ended, lambda one: one.start, lambda one: one.resolved))
    yield from _three("mttd", incidents.between(begun, lambda one: one.start, lambda one: one.detected))
    yield from _three("mtta", incidents.between(begun, lambda one: one.detected, lambda one: one.acknowledged))
    repair = incidents.between(ended, lambda one: one.acknowledged, lambda one: one.resolved)
    yield Figure(name="repair_time", value=repair.mean, n=repair.count)
    yield Figure(name="mtbf", value=hosts.up / len(begun) if begun and hosts.up else None, n=len(begun))
    remedied = [one for one in ended if one.remedied is not None]
    ratio = work.share(sum(bool(one.remedied) for one in remedied), len(remedied))
    yield Figure(name="auto_remediation_ratio", value=ratio, n=len(remedied))


def _three(name: str, found: incidents.Durations) -> Iterator[Figure]:
    yield Figure(name=name, value=found.mean, n=found.count)
    yield Figure(name=f"{name}_median", value=found.median, n=found.count)
    yield Figure(name=f"{name}_p90", value=found.p90, n=found.count)


def _changes(facts: Facts, until: float) -> Iterator[Figure]:
    hosts = [one for one in work.completed(facts.work) if one.type != OperationType.ALERT_MANAGEMENT]
    changing = work.count(one for one in hosts if not one.looking)
    blamed = incidents.blamed(facts.changes, incidents.merged(facts.incidents))
    yield Figure(name="change_failure_rate", value=work.share(len(blamed), changing), n=changing)
    laid = {one.id: one for found in blamed.values() for one in found if one.resolved and one.resolved < until}
    took = incidents.between(laid.values(), lambda one: one.start, lambda one: one.resolved)
    yield Figure(name="change_recovery_time", value=took.mean, n=took.count)


# -- operations ---------------------------------------------------------------------------------------------


def _work(facts: Facts, since: float, until: float, terms: Terms) -> Iterator[Figure]:
    ended, done = work.count(facts.work), work.completed(facts.work)
    by_initiator = work.grouped(done, lambda one: work.initiator(one.requested_by))
    yield Figure(
        name="automation_ratio",
        value=_automated(done),
        n=work.count(done),
        parts={name: (_automated(some), work.count(some)) for name, some in by_initiator.items()},
    )
    by_type = work.grouped(done, lambda one: one.type)
    rates = {name: (_failed(some), work.count(some)) for name, some in by_type.items()}
    yield Figure(name="error_rate", value=_failed(done), n=work.count(done), parts=rates)
    hours = (until - since) / _HOUR
    per_hour = {name: work.count(some) for name, some in work.grouped(facts.work, lambda one: one.type).items()}
    yield Figure(
        name="throughput",
        value=ended / hours if ended and hours else None,
        n=ended,
        parts={name: (number / hours if hours else None, number) for name, number in per_hour.items()},
    )
    yield _utilisation(facts.busy, since, until, terms.processes)


def _automated(some: Sequence[Ended]) -> float | None:
    return work.share(work.count(one for one in some if work.by_itself(one)), work.count(some))


def _failed(some: Sequence[Ended]) -> float | None:
    return work.share(work.count(one for one in some if one.outcome in work.FAILED), work.count(some))


def _utilisation(busy: Sequence[Busy] | None, since: float, until: float, processes: Mapping[str, int]) -> Figure:
    if busy is None:
        return Figure(name="utilisation", value=None, n=0, note="of the whole system only: ask without --system")
    there = work.available(busy, processes, since, until)
    share = work.share(min(there, sum(one.seconds for one in busy)), there)
    return Figure(name="utilisation", value=share, n=len({one.hour for one in busy}))


# -- answers and findings -----------------------------------------------------------------------------------


def _responses(found: Responses) -> Iterator[Figure]:
    for percent in (50, 95, 99):
        yield Figure(name=f"response_time_p{percent}", value=rank(found.times, percent), n=len(found.times))
    probes = len(found.times) + found.failed
    yield Figure(name="response_failed", value=work.share(found.failed, probes), n=probes)


def _security(facts: Facts, since: float, until: float) -> Iterator[Figure]:
    found = security.events(facts.scans)
    scans, fresh = len(facts.scans), sum(since <= one.at < until for one in facts.scans)
    there = security.still_open(found, until)
    serious = [one for one in there if one.severity is not Severity.INFO]
    parts = (
        {word.value: (float(sum(one.severity is word for one in there)), scans) for word in Severity} if scans else {}
    )
    yield Figure(name="security_open", value=float(len(serious)) if scans else None, n=scans, parts=parts)
    critical = sum(one.severity is Severity.CRITICAL for one in serious)
    yield Figure(name="security_critical", value=float(critical) if scans else None, n=scans)
    for name, some in (("opened", security.opened), ("closed", security.closed)):
        number = sum(one.severity is not Severity.INFO for one in some(found, since, until))
        yield Figure(name=f"security_{name}", value=float(number) if fresh else None, n=fresh)
    oldest = min((one.opened for one in serious), default=None)
    yield Figure(name="security_oldest", value=None if oldest is None else (until - oldest) / _DAY, n=len(serious))

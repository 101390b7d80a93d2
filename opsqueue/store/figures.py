"""What key figures are reckoned from, read from the record with few statements, each on an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, ColumnElement, Connection, Float, Integer, Select, cast, exists, func, select, text

from opsqueue.model.names import OperationType, Outcome, Severity, Stage
from opsqueue.model.observed import Busy, Change, Ended, Responses, Scan
from opsqueue.store.looks import these_or_all
from opsqueue.store.rows import in_parts, pack, unpack
from opsqueue.store.schema import BY_PERSON, events, operations, samples, series, targets

_HOUR = 3600.0
_CLOSED = frozenset({"fixed", "accepted"})
"""Words of a scan for what needs nobody's attention any more."""
_LONGEST = 8 * 86_400.0
"""Seconds before the end of a period in which operations are looked for that were still open at its end."""


def responses(connection: Connection, hosts: Sequence[str], since: float, until: float) -> Responses:
    """The times of all answers that were measured one by one, and how many probes had none."""
    answers = series.c.metric.startswith("response_time:", autoescape=True)
    tried = series.c.metric.startswith("attempts:", autoescape=True)
    times = sorted(
        value
        for (value,) in _sampled(connection, select(samples.c.value).where(answers), hosts, since, until)
        if value is not None
    )
    counts = [
        {
            (host, metric.partition(":")[2]): number
            for host, metric, number in _sampled(
                connection, _counted().where(one), hosts, since, until, (series.c.host, series.c.metric)
            )
        }
        for one in (answers, tried)
    ]
    failed = sum(max(0, number - counts[0].get(probe, 0)) for probe, number in counts[1].items())
    return Responses(times=tuple(times), failed=failed)


def measured(connection: Connection, host: str) -> bool:
    """Whether anything was ever measured of a host."""
    return connection.execute(select(series.c.id).where(series.c.host == host).limit(1)).first() is not None


def _counted() -> Select[Any]:
    return select(series.c.host, series.c.metric, func.count())


def _sampled(
    connection: Connection,
    query: Select[Any],
    hosts: Sequence[str],
    since: float,
    until: float,
    groups: Sequence[ColumnElement[Any]] = (),
) -> Iterator[Any]:
    """The rows of a question about samples between two instants, of some hosts or of all."""
    joined = query.join_from(series, samples, series.c.id == samples.c.series_id).group_by(*groups)
    within = joined.where(samples.c.at >= since, samples.c.at < until)
    for some in these_or_all(hosts):
        yield from connection.execute(within.where(series.c.host.in_(some)) if some else within)


# -- operations ---------------------------------------------------------------------------------------------


def _ended(hosts: Sequence[str], since: float, until: float) -> ColumnElement[bool]:
    """Those that ended in this time; of some hosts, or of all."""
    of_hosts = select(targets.c.operation_id).where(targets.c.host.in_(hosts))
    within = (operations.c.finished_at >= since) & (operations.c.finished_at < until)
    return within & operations.c.id.in_(of_hosts) if hosts else within


def ended(connection: Connection, hosts: Sequence[str], since: float, until: float) -> tuple[Ended, ...]:
    """How the operations ended that ended in this time, counted where they are alike."""
    columns = (operations.c.type, operations.c.outcome, operations.c.requested_by, operations.c.looking)
    by_person = select(events.c.operation_id).where(text(BY_PERSON), events.c.operation_id.is_not(None))
    touched = operations.c.id.in_(by_person)
    query = select(*columns, touched, func.count()).where(_ended(hosts, since, until)).group_by(*columns, touched)
    return tuple(
        Ended(
            type=kind, outcome=Outcome(outcome), requested_by=who, looking=looking, touched=bool(by_hand), count=number
        )
        for kind, outcome, who, looking, by_hand, number in connection.execute(query)
        if outcome
    )


def changes(connection: Connection, hosts: Sequence[str], since: float, until: float) -> tuple[Change, ...]:
    """What operations that ended in this time changed on these hosts."""
    query = (
        select(targets.c.operation_id, targets.c.host, targets.c.changed_at)
        .join(operations, operations.c.id == targets.c.operation_id)
        .where(operations.c.finished_at >= since, operations.c.finished_at < until)
        .where(operations.c.looking.is_(False), targets.c.changed_at.is_not(None))
        .where(operations.c.type != OperationType.ALERT_MANAGEMENT.value)  # no host is another one after that
    )
    rows = [row for some in in_parts(hosts) for row in connection.execute(query.where(targets.c.host.in_(some)))]
    return tuple(Change(operation_id=one, host=host, at=at) for one, host, at in sorted(rows))


def changed(connection: Connection, host: str, since: float, until: float) -> dict[str, int]:
    """How many operations changed one host in this time, by type, whether they are over or not."""
    query = (
        select(operations.c.type, func.count())
        .select_from(targets)
        .join(operations, operations.c.id == targets.c.operation_id)
        # What was begun is found by an index; of what was begun long before, only what was changed then counts.
        .where(targets.c.host == host, targets.c.started_at >= since - _LONGEST, targets.c.started_at < until)
        .where(targets.c.changed_at >= since, targets.c.changed_at < until)
        .where(operations.c.looking.is_(False), operations.c.type != OperationType.ALERT_MANAGEMENT.value)
        .group_by(operations.c.type)
        .order_by(operations.c.type)
    )
    return {kind: int(number) for kind, number in connection.execute(query)}


def added_later(connection: Connection, since: float, until: float) -> int:
    """How many operations began in this time, looked at hosts in it, and ended after it."""
    begun = (operations.c.created_at >= max(since, until - _LONGEST)) & (operations.c.created_at < until)
    looked = exists().where(
        targets.c.operation_id == operations.c.id, targets.c.verified_at >= since, targets.c.verified_at < until
    )
    query = select(func.count()).where(begun, operations.c.finished_at >= until, looked)
    return int(connection.execute(query).scalar_one())


def busy(connection: Connection, since: float, until: float) -> tuple[Busy, ...]:
    """How long each process of a worker worked on stages in each hour."""
    first = _first_event(connection, since)
    hour = (
        func.floor(events.c.at / _HOUR) if connection.dialect.name != "sqlite" else cast(events.c.at / _HOUR, Integer)
    )
    seconds = (
        func.json_extract(events.c.data, "$.seconds")
        if connection.dialect.name == "sqlite"
        else cast(cast(events.c.data, JSON)["seconds"].as_string(), Float)
    )
    query = (
        select(events.c.actor, hour, func.sum(seconds))
        .where(events.c.id >= first, events.c.kind == "stage", events.c.at >= since, events.c.at < until)
        .group_by(events.c.actor, hour)
    )
    rows = sorted((process, int(number), float(took)) for process, number, took in connection.execute(query))
    return tuple(Busy(process=process, hour=number, seconds=took) for process, number, took in rows)


def _first_event(connection: Connection, since: float) -> int:
    """An id before which no event is younger than this: ids grow with time, though not to the second."""
    low, high = 0, int(connection.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one())
    at = select(events.c.id, events.c.at).order_by(events.c.id).limit(1)
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(at.where(events.c.id >= middle)).one()
        low, high = (found.id + 1, high) if found.at < since - _HOUR else (low, middle)
    return low


# -- scans --------------------------------------------------------------------------------------------------


def scans(connection: Connection, hosts: Sequence[str], until: float) -> tuple[Scan, ...]:
    """What each security scan found on each host, from the first on."""
    those = (
        operations.c.type == OperationType.SECURITY_SCAN.value,
        operations.c.created_at < until,
        operations.c.stage == Stage.CLOSED,
    )
    looked = select(operations.c.id, targets.c.host, targets.c.verified_at).join(
        targets, targets.c.operation_id == operations.c.id
    )
    on: dict[str, list[tuple[str, float]]] = {}
    for name, host, at in connection.execute(looked.where(*those, targets.c.verified_at < until)):
        on.setdefault(name, []).append((host, at))
    # The findings of all its hosts are one text: it is read once for each scan, not once for each host.
    said = connection.execute(select(operations.c.id, operations.c.parameters, operations.c.findings).where(*those))
    wanted = frozenset(hosts)
    return tuple(one for name, scope, findings in said for one in _scans(scope, findings, on.get(name, ()), wanted))


def _scans(
    parameters: str, findings: str, looked: Sequence[tuple[str, float]], wanted: frozenset[str]
) -> Iterator[Scan]:
    """What one operation found on those of its hosts that are wanted; none wanted: on all."""
    scope, found = _scope(parameters), _found(unpack(findings)) if looked else {}
    for host, at in looked:
        if not wanted or host in wanted:
            yield Scan(host=host, at=at, scope=scope, findings=found.get(host, {}))


def _found(findings: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Severity]]:
    """By host what is open, by fingerprint: a finding names its own, or those of many that it only counts."""
    found: dict[str, dict[str, Severity]] = {}
    for one in findings:
        evidence = one.get("evidence") or {}
        if evidence.get("status") not in _CLOSED:
            own = [evidence["fingerprint"]] if "fingerprint" in evidence else evidence.get("fingerprints", ())
            found.setdefault(str(one.get("host")), {}).update({str(name): Severity(one["severity"]) for name in own})
    return found


def _scope(parameters: str) -> str:
    """What was looked for: all parameters but the exceptions, which say only what is told of it."""
    return str(pack({name: value for name, value in unpack(parameters).items() if name != "accept"}))

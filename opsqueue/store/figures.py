"""What key figures are reckoned from, read from the record with few statements, each on an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, ColumnElement, Connection, Float, Integer, Select, cast, exists, func, select, text

from opsqueue.model.names import OperationType, Outcome, Severity, Stage
from opsqueue.model.observed import Busy, Change, Ended, Incident, Responses, Scan, Seen
from opsqueue.store.rows import pack, unpack
from opsqueue.store.schema import BY_PERSON, events, operations, samples, series, targets

_UP = 0.5
"""The metric `up` is 0 or 1."""
_OF_CHECKS = "health_score"
"""A metric that a health check has at the moment of its `up`, and nobody else."""
_AT_ONCE = 500
"""Hosts in one question: no database takes parameters without end."""
_HOUR = 3600.0
_CLOSED = frozenset({"fixed", "accepted"})
"""Words of a scan for what needs nobody's attention any more."""
_LONGEST = 8 * 86_400.0
"""Seconds before the end of a period in which operations are looked for that were still open at its end."""


def observations(
    connection: Connection, hosts: Sequence[str], since: float, until: float
) -> dict[str, tuple[Seen, Seen]]:
    """When each host was looked at, and whether it was up; no hosts: all.

    By host what health checks said, and what all others said: that a host is reached does not make it well.
    """
    scores, score = series.alias(), samples.alias()
    query = (
        select(series.c.host, samples.c.at, samples.c.value, score.c.at)
        .select_from(series)
        .join(samples, series.c.id == samples.c.series_id)
        .outerjoin(scores, (scores.c.host == series.c.host) & (scores.c.metric == _OF_CHECKS))
        .outerjoin(score, (score.c.series_id == scores.c.id) & (score.c.at == samples.c.at))
        .where(series.c.metric == "up", samples.c.at >= since, samples.c.at < until)
    )
    found: dict[str, tuple[list[tuple[float, bool]], list[tuple[float, bool]]]] = {}
    for some in _parts(hosts):
        for host, at, value, checked in connection.execute(query.where(series.c.host.in_(some)) if some else query):
            found.setdefault(host, ([], []))[checked is None].append((at, value >= _UP))
    return {host: (tuple(sorted(one)), tuple(sorted(two))) for host, (one, two) in sorted(found.items())}


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
    for some in _parts(hosts):
        yield from connection.execute(within.where(series.c.host.in_(some)) if some else within)


def _parts(hosts: Sequence[str]) -> Iterator[list[str]]:
    """The hosts in parts that a statement takes; one empty part for all."""
    yield from ([list(hosts[at : at + _AT_ONCE]) for at in range(0, len(hosts), _AT_ONCE)] or [[]])


def incidents(connection: Connection, since: float, until: float, hosts: Sequence[str] = ()) -> tuple[Incident, ...]:
    """The times in which hosts were down, as far as they touch this one: from a failing sample to a good one.

    One that had begun earlier is told from its beginning; one that no good sample ended before `until` is open.
    """
    found: list[Incident] = []
    for host, looks in _looks(connection, hosts):
        start = _down_since(connection, looks, since)
        for at, up in _turns(connection, looks, since, until):
            if up and start is not None:
                found.append(_incident(host, start, at))
            start = None if up else at if start is None else start
        if start is not None:
            found.append(_incident(host, start, None))
    return tuple(sorted(found, key=lambda one: (one.start, one.host)))


def _looks(connection: Connection, hosts: Sequence[str]) -> list[tuple[str, ColumnElement[bool]]]:
    """By host the samples of health checks, and those of all others: a good one ends what its own kind began."""
    wanted = select(series.c.host, series.c.metric, series.c.id).where(series.c.metric.in_(["up", _OF_CHECKS]))
    ids: dict[str, dict[str, int]] = {}
    for some in _parts(hosts):
        for host, metric, number in connection.execute(wanted.where(series.c.host.in_(some)) if some else wanted):
            ids.setdefault(host, {})[metric] = number
    found: list[tuple[str, ColumnElement[bool]]] = []
    for host, of_host in sorted(ids.items()):
        if "up" not in of_host:
            continue
        all_of_it, score = samples.c.series_id == of_host["up"], samples.alias()
        if _OF_CHECKS not in of_host:
            found.append((host, all_of_it))
            continue
        checked = exists().where(score.c.series_id == of_host[_OF_CHECKS], score.c.at == samples.c.at)
        found += [(host, all_of_it & checked), (host, all_of_it & ~checked)]
    return found


def _down_since(connection: Connection, looks: ColumnElement[bool], since: float) -> float | None:
    """The first failing sample of the time in which a host was down at this instant; None: it was not."""
    before = looks & (samples.c.at < since)
    last = connection.execute(
        select(samples.c.at, samples.c.value).where(before).order_by(samples.c.at.desc()).limit(1)
    ).first()
    if last is None or last.value >= _UP:
        return None
    good = select(samples.c.at).where(before, samples.c.value >= _UP).order_by(samples.c.at.desc()).limit(1)
    after = connection.execute(good).scalar_one_or_none()
    first = select(func.min(samples.c.at)).where(before, samples.c.at > (-1.0 if after is None else after))
    return float(connection.execute(first).scalar_one())


def _turns(connection: Connection, looks: ColumnElement[bool], since: float, until: float) -> list[tuple[float, bool]]:
    """The first sample in this time, and each that differs from the one before it."""
    up = samples.c.value >= _UP
    before = func.lag(up).over(order_by=samples.c.at)
    within = looks & (samples.c.at >= since) & (samples.c.at < until)
    every = select(samples.c.at, up.label("up"), before.label("before")).where(within).subquery()
    turned = every.c.before.is_(None) | (every.c.before != every.c.up)
    rows = connection.execute(select(every.c.at, every.c.up).where(turned).order_by(every.c.at))
    return [(at, bool(is_up)) for at, is_up in rows]


def _incident(host: str, start: float, end: float | None) -> Incident:
    return Incident(id=f"{host}@{start:.3f}", host=host, start=start, resolved=end, rule="up")


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
    )
    rows = [row for some in _parts(hosts) if some for row in connection.execute(query.where(targets.c.host.in_(some)))]
    return tuple(Change(operation_id=one, host=host, at=at) for one, host, at in sorted(rows))


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
    query = (
        select(operations.c.parameters, operations.c.findings, targets.c.host, targets.c.verified_at)
        .join(targets, targets.c.operation_id == operations.c.id)
        .where(operations.c.type == OperationType.SECURITY_SCAN.value, operations.c.created_at < until)
        .where(operations.c.stage == Stage.CLOSED, targets.c.verified_at < until)
    )
    wanted = frozenset(hosts)
    return tuple(
        Scan(host=host, at=at, scope=_scope(scope), findings=_found(unpack(findings), host))
        for scope, findings, host, at in connection.execute(query)
        if not wanted or host in wanted
    )


def _found(findings: Sequence[Mapping[str, Any]], host: str) -> dict[str, Severity]:
    """What is open, by fingerprint: a finding names its own, or those of many that it only counts."""
    found: dict[str, Severity] = {}
    for one in findings:
        evidence = one.get("evidence") or {}
        if one.get("host") == host and evidence.get("status") not in _CLOSED:
            own = [evidence["fingerprint"]] if "fingerprint" in evidence else evidence.get("fingerprints", ())
            found |= {str(name): Severity(one["severity"]) for name in own}
    return found


def _scope(parameters: str) -> str:
    """What was looked for: all parameters but the exceptions, which say only what is told of it."""
    return str(pack({name: value for name, value in unpack(parameters).items() if name != "accept"}))

"""When hosts were looked at, and when they were down: the metric `up`, its samples and its summaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, exists, func, select

from opsqueue.model.observed import Incident, Seen
from opsqueue.store.rows import in_parts
from opsqueue.store.schema import rollups, samples, series

_UP = 0.5
"""The metric `up` is 0 or 1."""
_STEP = 300
"""Seconds that a summary stands for: of those that are kept the shortest."""
_OF_CHECKS = "health_score"
"""A metric that a health check has at the moment of its `up`, and nobody else."""


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
    for some in these_or_all(hosts):
        for host, at, value, checked in connection.execute(query.where(series.c.host.in_(some)) if some else query):
            found.setdefault(host, ([], []))[checked is None].append((at, value >= _UP))
        for host, at, low in connection.execute(_rolled(some, since, until)):
            found.setdefault(host, ([], []))[1].append((at, low >= _UP))
    return {host: (tuple(sorted(one)), tuple(sorted(two))) for host, (one, two) in sorted(found.items())}


def _rolled(hosts: Sequence[str], since: float, until: float) -> Select[Any]:
    """The summaries of `up` where its samples are forgotten: down when any of the step was."""
    query = (
        select(series.c.host, rollups.c.at, rollups.c.low)
        .join(rollups, series.c.id == rollups.c.series_id)
        .where(series.c.metric == "up", rollups.c.step == _STEP, rollups.c.at < series.c.raw_from)
        .where(rollups.c.at >= since, rollups.c.at < until)
    )
    return query.where(series.c.host.in_(hosts)) if hosts else query


def incidents(connection: Connection, since: float, until: float, hosts: Sequence[str] = ()) -> tuple[Incident, ...]:
    """The times in which hosts were down, as far as they touch this one: from a failing sample to a good one.

    One that had begun earlier is told from its beginning; one that no good sample ended before `until` is open.
    """
    found: list[Incident] = []
    for looks in _looks(connection, hosts):
        start = _down_since(connection, looks, since)
        for at, up in _turns(connection, looks, since, until):
            if up and start is not None:
                found.append(_incident(looks.host, start, at))
            start = None if up else at if start is None else start
        if start is not None:
            found.append(_incident(looks.host, start, None))
    return tuple(sorted(found, key=lambda one: (one.start, one.host)))


@dataclass(frozen=True, slots=True)
class _Looks:
    """Some of the samples of `up` of one host, and perhaps its summaries from before they begin."""

    host: str
    raw: ColumnElement[bool]
    rolled: ColumnElement[bool] | None

    def every(self) -> list[tuple[ColumnElement[bool], Column[float], ColumnElement[bool]]]:
        """Where they are, their time, and whether the host was up; the older ones first."""
        old = [] if self.rolled is None else [(self.rolled, rollups.c.at, rollups.c.low >= _UP)]
        return [*old, (self.raw, samples.c.at, samples.c.value >= _UP)]


def _looks(connection: Connection, hosts: Sequence[str]) -> list[_Looks]:
    """Those of health checks and those of all others apart: a good one ends what its own kind began."""
    wanted = select(series.c.host, series.c.metric, series.c.id, series.c.raw_from)
    wanted = wanted.where(series.c.metric.in_(["up", _OF_CHECKS]))
    ids: dict[str, dict[str, tuple[int, float]]] = {}
    for some in these_or_all(hosts):
        for host, metric, *place in connection.execute(wanted.where(series.c.host.in_(some)) if some else wanted):
            ids.setdefault(host, {})[metric] = (place[0], place[1])
    return [one for host, known in sorted(ids.items()) if "up" in known for one in _apart(host, known)]


def _apart(host: str, known: Mapping[str, tuple[int, float]]) -> list[_Looks]:
    number, raw_from = known["up"]
    raw, score = samples.c.series_id == number, samples.alias()
    rolled = (rollups.c.series_id == number) & (rollups.c.step == _STEP) & (rollups.c.at < raw_from)
    if _OF_CHECKS not in known:
        return [_Looks(host, raw, rolled)]
    checked = exists().where(score.c.series_id == known[_OF_CHECKS][0], score.c.at == samples.c.at)
    return [_Looks(host, raw & checked, None), _Looks(host, raw & ~checked, rolled)]


def _down_since(connection: Connection, looks: _Looks, since: float) -> float | None:
    """The first failing sample of the time in which a host was down at this instant; None: it was not."""
    start: float | None = None
    for where, at, up in reversed(looks.every()):
        before = where & (at < since)
        last = connection.execute(select(up).where(before).order_by(at.desc()).limit(1)).scalar()
        if last is None:
            continue
        if last:
            break
        good = connection.execute(select(at).where(before, up).order_by(at.desc()).limit(1)).scalar()
        start = connection.execute(select(func.min(at)).where(before, at > (-1.0 if good is None else good))).scalar()
        if good is not None:
            break
    return start


def _turns(connection: Connection, looks: _Looks, since: float, until: float) -> list[tuple[float, bool]]:
    """The first sample in this time, and each that differs from the one before it."""
    found: list[tuple[float, bool]] = []
    for where, at, up in looks.every():
        before = func.lag(up).over(order_by=at)
        every = select(at.label("at"), up.label("up"), before.label("before"))
        within = every.where(where, at >= since, at < until).subquery()
        turned = within.c.before.is_(None) | (within.c.before != within.c.up)
        rows = connection.execute(select(within.c.at, within.c.up).where(turned).order_by(within.c.at))
        found += [(moment, bool(is_up)) for moment, is_up in rows]
    return found


def _incident(host: str, start: float, end: float | None) -> Incident:
    return Incident(id=f"{host}@{start:.3f}", host=host, start=start, resolved=end, rule="up")


def these_or_all(hosts: Sequence[str]) -> Iterator[list[str]]:
    """The hosts in parts that a statement takes; one empty part for all."""
    yield from (list(in_parts(hosts)) or [[]])

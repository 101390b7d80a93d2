"""Measured numbers over time: one narrow row per series and moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from opsqueue.model.kind import Metric
from opsqueue.model.sample import Last
from opsqueue.store.gently import insert_new_rows
from opsqueue.store.rows import in_parts
from opsqueue.store.schema import samples, series
from opsqueue.store.turns import together

_PLACES = select(series.c.host, series.c.metric, series.c.id, series.c.rolled_until, series.c.raw_from).where(
    series.c.host.in_(bindparam("hosts", expanding=True))
)
# One step in the key for each series; a join would go through all of their samples.
_OF_SERIES = select(samples.c.at).where(samples.c.series_id == series.c.id).order_by(samples.c.at.desc())
_LAST = select(
    series.c.metric,
    *(
        one.correlate(series).scalar_subquery()
        for one in (
            _OF_SERIES.with_only_columns(samples.c.value).limit(1),
            _OF_SERIES.limit(1),
            _OF_SERIES.limit(1).offset(1),
        )
    ),
).where(series.c.host == bindparam("the_host"))
_ANEW = (
    update(series)
    .where(series.c.id == bindparam("the_series"), series.c.rolled_until > bindparam("since"))
    .values(rolled_until=bindparam("since"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The numbers of one host at one moment, UNIX time; what two workers took in the same second is one moment."""

    host: str
    at: float
    metrics: Mapping[str, Metric]


@dataclass(frozen=True, slots=True)
class _Place:
    """A series: its id, until when it is summarised, and from when on it takes samples."""

    number: int
    rolled_until: float
    raw_from: float


def add(tx: Connection, readings: Sequence[Taken]) -> int:
    """Store the known numbers of these readings; a second that has one already is left alone. Returns how many.

    One that comes late, for a step that was summarised already, has that step summarised anew. One that is older than
    the samples that are kept is dropped: the summaries of its day could not be made again.
    """
    known = [(one, metric) for one in readings for metric in one.metrics.values() if _is_number(metric)]
    if not known:
        return 0
    together(tx)
    places = _places(tx, {(one.host, metric.name): metric.unit for one, metric in known})
    rows, late = [], dict[int, float]()
    for one, metric in known:
        place, at = places[one.host, metric.name], float(math.floor(one.at))
        if at >= place.raw_from:
            rows.append({"series_id": place.number, "at": at, "value": metric.value})
        if place.raw_from <= at < place.rolled_until:
            late[place.number] = min(at, late.get(place.number, at))
    if rows:
        insert_new_rows(tx, samples, rows)
    if late:  # in one order, so that no two wait for each other
        tx.execute(_ANEW, [{"the_series": number, "since": late[number]} for number in sorted(late)])
    return len(rows)


def _is_number(metric: Metric) -> bool:
    """Whether it can be kept: some databases refuse NaN, and with it the write of all the others."""
    return metric.value is not None and metric.usable


def _places(tx: Connection, wanted: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], _Place]:
    """The series by host and metric; those that are not there yet are made, with their unit."""
    hosts = list(dict.fromkeys(host for host, _name in wanted))
    found = _known_places(tx, hosts)
    if fresh := sorted(key for key in wanted if key not in found):  # in one order, so that no two wait for each other
        insert_new_rows(tx, series, [{"host": host, "metric": m, "unit": wanted[host, m]} for host, m in fresh])
        found = _known_places(tx, hosts)
    return found


def _known_places(connection: Connection, hosts: Sequence[str]) -> dict[tuple[str, str], _Place]:
    found: dict[tuple[str, str], _Place] = {}
    for some in in_parts(hosts):
        rows = connection.execute(_PLACES, {"hosts": some})
        found.update({(host, name): _Place(*place) for host, name, *place in rows})
    return found


def units(connection: Connection, host: str) -> dict[str, str]:
    """Every metric that was ever measured of a host, and its unit."""
    rows = connection.execute(select(series.c.metric, series.c.unit).where(series.c.host == host))
    return {str(metric): str(unit or "") for metric, unit in rows}


def last(connection: Connection, host: str) -> dict[str, Last]:
    """The newest number of each series of a host, as far as they are kept."""
    rows = connection.execute(_LAST, {"the_host": host})
    return {
        name: Last(value, at, at - (at if older is None else older))
        for name, value, at, older in rows
        if at is not None
    }


def read(connection: Connection, host: str, metric: str, since: float) -> list[tuple[float, float]]:
    """One series from `since` on, oldest first, as (UNIX time, value)."""
    rows = connection.execute(
        select(samples.c.at, samples.c.value)
        .join(series, series.c.id == samples.c.series_id)
        .where(series.c.host == host, series.c.metric == metric, samples.c.at >= since)
        .order_by(samples.c.at)
    )
    return [(at, value) for at, value in rows]

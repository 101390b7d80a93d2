"""Measured numbers over time: one narrow row per series and moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select

from opsqueue.model.kind import Metric
from opsqueue.store.gently import insert_new_rows
from opsqueue.store.schema import samples, series

_AT_ONCE = 500
"""Hosts in one question: no database takes parameters without end."""
_IDS = select(series.c.host, series.c.metric, series.c.id).where(series.c.host.in_(bindparam("hosts", expanding=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The numbers of one host at one moment, UNIX time."""

    host: str
    at: float
    metrics: Mapping[str, Metric]


def add(tx: Connection, readings: Sequence[Taken]) -> int:
    """Store the known numbers of these readings; a moment that is there already is left alone. Returns how many."""
    known = [(one, metric) for one in readings for metric in one.metrics.values() if metric.value is not None]
    if not known:
        return 0
    ids = _series_ids(tx, {(one.host, metric.name): metric.unit for one, metric in known})
    rows = [{"series_id": ids[one.host, m.name], "at": one.at, "value": m.value} for one, m in known]
    insert_new_rows(tx, samples, rows)
    return len(rows)


def _series_ids(tx: Connection, wanted: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], int]:
    """The ids by host and metric; series that are not there yet are made, with their unit."""
    hosts = list(dict.fromkeys(host for host, _name in wanted))
    ids = _known_ids(tx, hosts)
    if fresh := sorted(key for key in wanted if key not in ids):  # in one order, so that no two wait for each other
        insert_new_rows(tx, series, [{"host": host, "metric": m, "unit": wanted[host, m]} for host, m in fresh])
        ids = _known_ids(tx, hosts)
    return ids


def _known_ids(connection: Connection, hosts: Sequence[str]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for start in range(0, len(hosts), _AT_ONCE):
        rows = connection.execute(_IDS, {"hosts": list(hosts[start : start + _AT_ONCE])})
        found.update({(host, name): number for host, name, number in rows})
    return found


def read(connection: Connection, host: str, metric: str, since: float) -> list[tuple[float, float]]:
    """One series from `since` on, oldest first, as (UNIX time, value)."""
    rows = connection.execute(
        select(samples.c.at, samples.c.value)
        .join(series, series.c.id == samples.c.series_id)
        .where(series.c.host == host, series.c.metric == metric, samples.c.at >= since)
        .order_by(samples.c.at)
    )
    return [(at, value) for at, value in rows]


def prune(tx: Connection, before: float) -> int:
    """Forget samples older than that, series by series as the key lies; returns how many."""
    ids = tx.execute(select(series.c.id)).scalars().all()
    old = delete(samples).where(samples.c.series_id == bindparam("the_series"), samples.c.at < before)
    return sum(tx.execute(old, {"the_series": number}).rowcount for number in ids)

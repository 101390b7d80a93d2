"""Measured numbers over time: one narrow row per series and moment."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, delete, select

from opsqueue.model.kind import Metric
from opsqueue.store.gently import insert_new, insert_new_rows
from opsqueue.store.schema import samples, series


def add(tx: Connection, host: str, metrics: Mapping[str, Metric], at: float) -> int:
    """Store the known numbers of one reading; a moment that is there already is left alone. Returns how many."""
    known = {name: metric for name, metric in metrics.items() if metric.value is not None}
    ids = _series_ids(tx, host, known)
    rows = [{"series_id": ids[name], "at": at, "value": metric.value} for name, metric in known.items()]
    if not rows:
        return 0
    insert_new_rows(tx, samples, rows)
    return len(rows)


def _series_ids(tx: Connection, host: str, metrics: Mapping[str, Metric]) -> dict[str, int]:
    ids = _known_ids(tx, host)
    for name, metric in metrics.items():
        if name not in ids:
            insert_new(tx, series, {"host": host, "metric": name, "unit": metric.unit})
    return ids if set(metrics) <= set(ids) else _known_ids(tx, host)


def _known_ids(connection: Connection, host: str) -> dict[str, int]:
    rows = connection.execute(select(series.c.metric, series.c.id).where(series.c.host == host))
    return {row[0]: row[1] for row in rows}


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

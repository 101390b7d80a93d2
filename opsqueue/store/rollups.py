"""Series as points of a step: raw samples summarised."""

from __future__ import annotations

from sqlalchemy import Connection, select

from opsqueue.model.sample import Point, Series, SeriesWanted
from opsqueue.store.schema import samples, series


def read(connection: Connection, host: str, wanted: SeriesWanted, now: float) -> Series:
    """What a type wants of a host's past, by metric, oldest first."""
    found: dict[str, list[tuple[float, float]]] = {}
    rows = connection.execute(
        select(series.c.metric, samples.c.at, samples.c.value)
        .join(samples, series.c.id == samples.c.series_id)
        .where(series.c.host == host, samples.c.at >= now - wanted.ago, samples.c.at <= now - wanted.until)
        .order_by(series.c.metric, samples.c.at)
    )
    for metric, at, value in rows:
        if any(_fits(metric, pattern) for pattern in wanted.metrics):
            found.setdefault(metric, []).append((at, value))
    return {metric: _points(values, wanted.step) for metric, values in found.items()}


def _fits(metric: str, pattern: str) -> bool:
    before, star, after = pattern.partition("*")
    return metric.startswith(before) and metric.endswith(after) if star else metric == pattern


def _points(values: list[tuple[float, float]], step: float) -> tuple[Point, ...]:
    if not step:
        return tuple(Point.raw(at, value) for at, value in values)
    steps: dict[float, list[float]] = {}
    for at, value in values:
        steps.setdefault(at // step * step, []).append(value)
    return tuple(_summary(at, sorted(found)) for at, found in steps.items())


def _summary(at: float, values: list[float]) -> Point:
    rank = max(0, -(-len(values) * 95 // 100) - 1)
    return Point(
        at=at, mean=sum(values) / len(values), low=values[0], high=values[-1], p95=values[rank], count=len(values)
    )

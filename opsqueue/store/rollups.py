"""Series as points of a step: summaries where they are made already, the samples themselves for the newest end.

A step that is one of those that are kept (5 minutes, an hour, a day) is exact in all of its numbers. Any other is made
of the longest kept one that divides it, and its p95 is then a bound: see `model.sample.merged`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, select

from opsqueue.model.sample import LEVELS, Point, Series, SeriesWanted, stepped, summaries
from opsqueue.store.schema import rollups, samples, series

_Value = tuple[float, float]


def read(connection: Connection, host: str, wanted: SeriesWanted, now: float) -> Series:
    """What a type wants of a host's past, by metric, oldest first; nothing that was measured after `now`.

    Steps are whole: the first is the one in which the wanted time begins, the last the one in which it ends.
    """
    query = select(series.c.id, series.c.metric, series.c.rolled_until).where(series.c.host == host)
    rows = connection.execute(query.order_by(series.c.metric)).all()
    names = {number: metric for number, metric, _rolled in rows if _wants(wanted, metric)}
    since, until = now - wanted.ago, now - wanted.until
    if wanted.step:
        rolled = {number: until_then for number, _metric, until_then in rows if number in names}
        found = _Steps(connection, wanted.step, now).read(rolled, since, until)
    else:
        values = _values(connection, list(names), since, until)
        found = {number: tuple(Point.raw(at, value) for at, value in some) for number, some in values.items()}
    return {names[number]: found[number] for number in names if found.get(number)}


def _wants(wanted: SeriesWanted, metric: str) -> bool:
    return any(_fits(metric, pattern) for pattern in wanted.metrics)


def _fits(metric: str, pattern: str) -> bool:
    before, star, after = pattern.partition("*")
    return metric.startswith(before) and metric.endswith(after) if star else metric == pattern


def _values(connection: Connection, numbers: Sequence[int], since: float, until: float) -> dict[int, list[_Value]]:
    """Samples by series, from `since` to `until`, both included."""
    if not numbers:
        return {}
    query = (
        select(samples.c.series_id, samples.c.at, samples.c.value)
        .where(samples.c.series_id.in_(numbers), samples.c.at >= since, samples.c.at <= until)
        .order_by(samples.c.series_id, samples.c.at)
    )
    found: dict[int, list[_Value]] = {}
    for number, at, value in connection.execute(query):
        found.setdefault(number, []).append((at, value))
    return found


class _Steps:
    """Points of one step as they were known at a moment."""

    def __init__(self, connection: Connection, step: float, now: float) -> None:
        self._connection, self._step, self._now = connection, step, now
        self._level = next((level for level in reversed(LEVELS) if step % level == 0), None)

    def read(self, rolled: dict[int, float], since: float, until: float) -> dict[int, tuple[Point, ...]]:
        """The points of each series, given until when it is summarised."""
        begin, last = _floor(since, self._step), _floor(until, self._step)
        # The step in which this moment lies was not over: whatever is known today, it is told as it was.
        halves = {number: self._half(then, begin) for number, then in rolled.items()}
        found = self._summaries(halves, begin, last)
        for number, values in self._unsummarised(halves, last):
            rest = summaries(values, self._level or self._step)
            found[number] = (*found.get(number, ()), *rest)
        if self._level in {None, self._step}:
            return found
        return {number: stepped(points, self._step) for number, points in found.items()}

    def _half(self, rolled_until: float, begin: float) -> float:
        """From where on a series is read from samples."""
        if self._level is None:
            return begin
        return max(begin, _floor(min(rolled_until, self._now), self._level))

    def _summaries(self, halves: dict[int, float], begin: float, last: float) -> dict[int, tuple[Point, ...]]:
        numbers = [number for number, half in halves.items() if half > begin]
        if not numbers:
            return {}
        end = min(last + self._step, max(halves.values()))
        query = (
            select(rollups.c["series_id", "at", "mean", "low", "high", "p95", "count"])
            .where(rollups.c.series_id.in_(numbers), rollups.c.step == self._level)
            .where(rollups.c.at >= begin, rollups.c.at < end)
            .order_by(rollups.c.series_id, rollups.c.at)
        )
        return {
            number: tuple(_point(row) for row in rows if row[1] < halves[number])
            for number, rows in groupby(self._connection.execute(query), itemgetter(0))
        }

    def _unsummarised(self, halves: dict[int, float], last: float) -> Iterator[tuple[int, list[_Value]]]:
        """The samples of the newest end; most series are summarised until the same moment."""
        for half in set(halves.values()):
            numbers = [number for number, other in halves.items() if other == half]
            end = min(self._now, last + self._step)
            found = _values(self._connection, numbers, half, end) if half <= end else {}
            for number, values in found.items():
                yield number, [(at, value) for at, value in values if at < last + self._step]


def _point(row: Sequence[float]) -> Point:
    _number, at, mean, low, high, p95, count = row
    return Point(at=at, mean=mean, low=low, high=high, p95=p95, count=int(count))


def _floor(at: float, step: float) -> float:
    return at // step * step

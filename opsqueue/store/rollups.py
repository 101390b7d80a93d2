"""Series as points of a step: summaries where they are made already, the samples themselves for the newest end.

A step that is one of those that are kept (5 minutes, an hour, a day) is exact in all of its numbers. Any other is made
of the longest kept one that divides it, and its p95 is then a bound: see `model.sample.merged`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, bindparam, func, select

from opsqueue.model.sample import LEVELS, Point, Series, SeriesWanted, stepped, summaries
from opsqueue.store.schema import rollups, samples, series

_Value = tuple[float, float]

# Made once: to make a statement costs more than to run it, and every host of every look asks these.
_OLDEST = select(func.min(samples.c.at)).where(samples.c.series_id == series.c.id).correlate(series).scalar_subquery()
_OF_HOST = (
    select(series.c.id, series.c.metric, series.c.rolled_until, _OLDEST)
    .where(series.c.host == bindparam("the_host"))
    .order_by(series.c.metric)
)
_SAMPLES = (
    select(samples.c.series_id, samples.c.at, samples.c.value)
    .where(samples.c.series_id.in_(bindparam("numbers", expanding=True)))
    .where(samples.c.at >= bindparam("since"), samples.c.at <= bindparam("until"))
    .order_by(samples.c.series_id, samples.c.at)
)
_ROLLUPS = (
    select(*rollups.c["series_id", "at", "mean", "low", "high", "p95", "count"])
    .where(rollups.c.series_id.in_(bindparam("numbers", expanding=True)), rollups.c.step == bindparam("the_step"))
    .where(rollups.c.at >= bindparam("since"), rollups.c.at < bindparam("until"))
    .order_by(rollups.c.series_id, rollups.c.at)
)


def read(connection: Connection, host: str, wanted: SeriesWanted, now: float) -> Series:
    """What a type wants of a host's past, by metric, oldest first; nothing that was measured after `now`.

    Steps are whole: the first is the one in which the wanted time begins, the last the one in which it ends.
    """
    return Past(connection, host, (wanted,), now)[wanted.name]


class Past(Mapping[str, Series]):
    """What a type wants of a host's past, by the names that it gave; read when it is looked at.

    Most hosts are well, and of most of what is wanted nobody looks at anything. It is good as long as its connection.
    """

    def __init__(self, connection: Connection, host: str, wanted: Iterable[SeriesWanted], now: float) -> None:
        self._connection, self._host, self._now = connection, host, now
        self._wanted = {one.name: one for one in wanted}
        self._read: dict[str, Series] = {}

    def __getitem__(self, name: str) -> Series:
        """The points by metric."""
        if name not in self._read:
            self._read[name] = self._found(self._wanted[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._wanted)

    def __len__(self) -> int:
        """How many names."""
        return len(self._wanted)

    @cached_property
    def _known(self) -> list[_Kept]:
        return [_Kept(*row) for row in self._connection.execute(_OF_HOST, {"the_host": self._host}).all()]

    def _found(self, wanted: SeriesWanted) -> Series:
        chosen = [kept for kept in self._known if any(fits(kept.metric, pattern) for pattern in wanted.metrics)]
        points = _read(self._connection, chosen, wanted, self._now) if chosen else {}
        return {kept.metric: points[kept.number] for kept in chosen if points.get(kept.number)}


@dataclass(frozen=True, slots=True)
class _Kept:
    """A series: until when it is summarised, and its oldest sample, if there are any."""

    number: int
    metric: str
    rolled_until: float
    oldest: float | None


def fits(metric: str, pattern: str) -> bool:
    """Whether a metric is one of those that a pattern of `SeriesWanted` names."""
    before, star, after = pattern.partition("*")
    return metric.startswith(before) and metric.endswith(after) if star else metric == pattern


def _read(
    connection: Connection, chosen: Sequence[_Kept], wanted: SeriesWanted, now: float
) -> Mapping[int, tuple[Point, ...]]:
    since, until = now - wanted.ago, now - wanted.until
    if wanted.step:
        return _Steps(connection, wanted.step, now).read(chosen, since, until)
    values = _values(connection, chosen, since, until)
    return {number: tuple(Point.raw(at, value) for at, value in some) for number, some in values.items()}


def _values(connection: Connection, chosen: Sequence[_Kept], since: float, until: float) -> dict[int, list[_Value]]:
    """Samples by series, from `since` to `until`, both included."""
    found: dict[int, list[_Value]] = {}
    numbers = [kept.number for kept in chosen if kept.oldest is not None and kept.oldest <= until]
    if numbers and since <= until:
        asked = {"numbers": numbers, "since": since, "until": until}
        # All at once: on PostgreSQL to fetch row after row costs more than the question.
        for number, at, value in connection.execute(_SAMPLES, asked).all():
            found.setdefault(number, []).append((at, value))
    return found


class _Steps:
    """Points of one step as they were known at a moment."""

    def __init__(self, connection: Connection, step: float, now: float) -> None:
        self._connection, self._step, self._now = connection, step, now
        self._level = next((level for level in reversed(LEVELS) if step % level == 0), None)

    def read(self, chosen: Sequence[_Kept], since: float, until: float) -> dict[int, tuple[Point, ...]]:
        """The points of each series."""
        begin, end = _floor(since, self._step), _floor(until, self._step) + self._step
        halves = {kept.number: self._half(kept.rolled_until, begin) for kept in chosen}
        found = self._summaries(halves, begin, end)
        for number, values in self._unsummarised(chosen, halves, end):
            found[number] = (*found.get(number, ()), *summaries(values, self._level or self._step))
        if self._level in {None, self._step}:
            return found
        return {number: stepped(points, self._step) for number, points in found.items()}

    def _half(self, rolled_until: float, begin: float) -> float:
        """From where on a series is read from samples.

        The step in which `now` lies was not over then: whatever is known today, it is told as it was.
        """
        if self._level is None:
            return begin
        return max(begin, _floor(min(rolled_until, self._now), self._level))

    def _summaries(self, halves: Mapping[int, float], begin: float, end: float) -> dict[int, tuple[Point, ...]]:
        numbers = [number for number, half in halves.items() if half > begin]
        if not numbers:
            return {}
        until = min(end, max(halves.values()))
        asked = {"numbers": numbers, "the_step": self._level, "since": begin, "until": until}
        return {
            number: tuple(_point(row) for row in rows if row[1] < halves[number])
            for number, rows in groupby(self._connection.execute(_ROLLUPS, asked).all(), itemgetter(0))
        }

    def _unsummarised(
        self, chosen: Sequence[_Kept], halves: Mapping[int, float], end: float
    ) -> Iterator[tuple[int, list[_Value]]]:
        """The samples of the newest end; most series are summarised until the same moment."""
        for half in set(halves.values()):
            some = [kept for kept in chosen if halves[kept.number] == half]
            for number, values in _values(self._connection, some, half, min(self._now, end)).items():
                if before := [(at, value) for at, value in values if at < end]:
                    yield number, before


def _point(row: Sequence[float]) -> Point:
    _number, at, mean, low, high, p95, count = row
    return Point(at=at, mean=mean, low=low, high=high, p95=p95, count=int(count))


def _floor(at: float, step: float) -> float:
    return at // step * step

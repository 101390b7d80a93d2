"""Samples are summarised and forgotten, a small piece in each transaction.

Every summary is made from the samples of its step itself, the longer ones too: percentiles of parts cannot be put
together. So samples are forgotten in whole days (UTC), and only when those are summarised. A series knows how far it is
summarised (`rolled_until`); that and the summaries are written in one transaction, so that it does not matter who does
it, how often, or where somebody died. A sample that comes late sets it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, delete, exists, func, select, update

from opsqueue.model.sample import DAY, LEVELS, summaries
from opsqueue.store.gently import put_rows
from opsqueue.store.schema import rollups, samples, series
from opsqueue.store.turns import alone

_EXPECTED_EVERY = 60.0
"""Seconds between two samples, to reckon beforehand how many a piece will have."""
_PIECE = 20_000
_SERIES = 300
"""At most so many series in one piece."""
_OLDEST = select(func.min(samples.c.at)).where(samples.c.series_id == series.c.id).correlate(series)


def roll(tx: Connection, now: float, piece: int = _PIECE) -> int | None:
    """Summarise about `piece` samples of steps that are over by now, those that are furthest behind first.

    Returns how many samples it took; None: nothing was left to do.
    """
    alone(tx)
    end = _floor(now, LEVELS[0])
    since = tx.execute(select(func.min(series.c.rolled_until)).where(series.c.rolled_until < end)).scalar()
    if since is None:
        return None
    oldest = _OLDEST.where(samples.c.at >= since).scalar_subquery()
    query = select(series.c.id, oldest).where(series.c.rolled_until == since).order_by(series.c.id).limit(_SERIES)
    found = [(number, at) for number, at in tx.execute(query)]
    first = min((at for _number, at in found if at is not None and at < end), default=None)
    if since % DAY or first is not None:
        begin = since if since % DAY else max(since, _floor(first or since, DAY))
        until = min(end, _floor(begin, DAY) + DAY)
        return _rolled(tx, [number for number, _at in found], begin, until, piece)
    return _done(tx, [number for number, _at in found], end)


def _rolled(tx: Connection, numbers: Sequence[int], begin: float, until: float, piece: int) -> int:
    """Summarise all steps that end after `begin` and not after `until`, of as many series as make up a piece."""
    lowest = min(_floor(begin, step) for step in LEVELS if _floor(until, step) > _floor(begin, step))
    chosen = numbers[: max(1, int(piece * _EXPECTED_EVERY / (until - lowest)))]
    query = (
        select(samples.c.series_id, samples.c.at, samples.c.value)
        .where(samples.c.series_id.in_(chosen), samples.c.at >= lowest, samples.c.at < until)
        .order_by(samples.c.series_id, samples.c.at)
    )
    taken = [(number, at, value) for number, at, value in tx.execute(query).all()]
    rows = [row for number, of in groupby(taken, itemgetter(0)) for row in _rows(number, list(of), begin, until)]
    if rows:
        put_rows(tx, rollups, rows)
    _done(tx, chosen, until)
    return len(taken)


def _rows(
    number: int, taken: Sequence[tuple[int, float, float]], begin: float, until: float
) -> Iterator[dict[str, object]]:
    for step in LEVELS:
        lowest, end = _floor(begin, step), _floor(until, step)
        for point in summaries([(at, value) for _number, at, value in taken if lowest <= at < end], step):
            yield {
                "series_id": number, "step": step, "at": point.at, "low": point.low, "mean": point.mean,
                "high": point.high, "p95": point.p95, "count": point.count,
            }  # fmt: skip


def _done(tx: Connection, numbers: Sequence[int], until: float) -> int:
    tx.execute(update(series).where(series.c.id.in_(numbers)).values(rolled_until=until))
    return 0


def forget_samples(tx: Connection, before: float, most: int = 50) -> int:
    """Forget one day of samples of at most so many series; only days that ended before then and are summarised.

    Returns how many series it was; 0: nothing was left to do.
    """
    alone(tx)
    end = _floor(before, DAY)
    behind = (series.c.raw_from < end, series.c.rolled_until >= end)
    since = tx.execute(select(func.min(series.c.raw_from)).where(*behind)).scalar()
    if since is None:
        return 0
    query = select(series.c.id, _OLDEST.scalar_subquery()).where(*behind, series.c.raw_from == since)
    found = tx.execute(query.order_by(series.c.id).limit(most)).all()
    numbers = [number for number, _at in found]
    first = min((at for _number, at in found if at is not None), default=end)
    until = min(end, _floor(first, DAY) + DAY)
    tx.execute(delete(samples).where(samples.c.series_id.in_(numbers), samples.c.at < until))
    tx.execute(update(series).where(series.c.id.in_(numbers)).values(raw_from=until))
    return len(numbers)


def forget_rollups(tx: Connection, before: dict[int, float], after: int = 0, most: int = 100) -> int | None:
    """Forget summaries by the seconds of their step that began before then, of at most so many series.

    Goes on after the series with this id; returns the last one that was looked at, None when there are no more.
    """
    query = select(series.c.id).where(series.c.id > after).order_by(series.c.id).limit(most)
    numbers = tx.execute(query).scalars().all()
    for step, then in before.items():
        old = (rollups.c.step == step, rollups.c.at < _floor(then, DAY))
        tx.execute(delete(rollups).where(rollups.c.series_id.in_(numbers), *old))
    return numbers[-1] if numbers else None


def forget_empty(tx: Connection) -> int:
    """Forget the names of series of which nothing is left, such as those of a host that is gone; returns how many."""
    alone(tx)
    left = (exists().where(table.c.series_id == series.c.id) for table in (samples, rollups))
    return tx.execute(delete(series).where(*(~one for one in left))).rowcount


def _floor(at: float, step: float) -> float:
    return at // step * step

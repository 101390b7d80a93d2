"""Samples and their summaries on both databases: made once however often, by whomever; read where they are best."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, select

from opsqueue.model.kind import Metric
from opsqueue.model.sample import DAY, LEVELS, Point, SeriesWanted, merged, summaries
from opsqueue.store import rolling, rollups, samples, schema

START = 1_800_057_600.0
"""A midnight, UTC."""
HOUR, MINUTE = 3600.0, 60.0


def a_metric(value, name="cpu"):
    return Metric(name=name, value=value, unit="percent")


def add(store, values, host="h1", name="cpu"):
    """Store `(UNIX time, value)` pairs; returns how many were taken."""
    taken = [samples.Taken(host=host, at=at, metrics={name: a_metric(value, name)}) for at, value in values]
    with store.begin() as tx:
        return samples.add(tx, taken)


def minutes(begin, end, seed=1):
    """A value for each minute of [begin, end)."""
    luck = random.Random(seed)
    return [(begin + n * MINUTE, round(luck.uniform(0, 100), 3)) for n in range(int((end - begin) // MINUTE))]


def roll(store, now, piece=20_000):
    """Summarise all that is over by now; returns how many samples were looked at."""
    total = 0
    while True:
        with store.begin() as tx:
            taken = rolling.roll(tx, now, piece)
        if taken is None:
            return total
        total += taken


def rows(store):
    with store.read() as connection:
        return sorted(tuple(row) for row in connection.execute(select(schema.rollups)))


def read(store, step, *, ago, now, until=0.0, host="h1", metrics=("cpu",)):
    wanted = SeriesWanted(name="it", metrics=metrics, ago=ago, until=until, step=step)
    with store.read() as connection:
        return rollups.read(connection, host, wanted, now)


def same(points, wanted):
    assert [(p.at, p.low, p.high, p.p95, p.count) for p in points] == [
        (p.at, p.low, p.high, p.p95, p.count) for p in wanted
    ]
    assert [p.mean for p in points] == pytest.approx([p.mean for p in wanted])


@pytest.mark.parametrize("rolled", [None, 0.0, 12.5 * HOUR, DAY, 2.6 * DAY])
@pytest.mark.parametrize("step", LEVELS)
def test_a_step_is_the_same_before_and_after_it_was_summarised(store, step, rolled):
    values, now = minutes(START, START + 2.6 * DAY), START + 2.6 * DAY
    add(store, values)
    if rolled is not None:
        roll(store, START + rolled)
    found = read(store, step, ago=2.6 * DAY, now=now)
    same(found["cpu"], summaries(values, step))
    assert sum(point.count for point in found["cpu"]) == len(values)


def test_the_rows_of_every_level_are_made_of_the_samples_themselves(store):
    values = minutes(START, START + 1.5 * DAY)
    add(store, values)
    assert roll(store, START + 1.5 * DAY) >= len(values)
    kept = {step: [row[2:] for row in rows(store) if row[1] == step] for step in LEVELS}
    assert {step: len(found) for step, found in kept.items()} == {300: 432, 3600: 36, 86400: 1}
    for step, found in kept.items():
        over = [(at, value) for at, value in values if at // step * step + step <= START + 1.5 * DAY]
        same(
            [Point(at=at, low=low, mean=mean, high=high, p95=p95, count=n) for at, low, mean, high, p95, n in found],
            summaries(over, step),
        )


def test_it_does_not_matter_how_often_it_is_done_and_in_what_pieces(store):
    for number in range(3):
        add(store, minutes(START, START + 1.2 * DAY, seed=number), f"h{number}")
    now = START + 1.2 * DAY
    roll(store, now, piece=40)
    once = rows(store)
    assert roll(store, now) == 0
    with store.begin() as tx:  # as if somebody had died before it was noted
        tx.execute(schema.series.update().values(rolled_until=START + 100))
    roll(store, now)
    assert rows(store) == once
    with store.begin() as tx:
        tx.execute(schema.series.update().values(rolled_until=0))
        tx.execute(schema.rollups.delete())
    roll(store, now)
    assert rows(store) == once


def test_a_piece_is_small_and_goes_on_where_it_ended(store):
    for number in range(5):
        add(store, minutes(START, START + 3 * DAY), f"h{number}")
    with store.begin() as tx:
        first = rolling.roll(tx, START + 3 * DAY, piece=2000)
    assert 0 < first <= 2000
    with store.read() as connection:
        until = sorted(connection.execute(select(schema.series.c.rolled_until)).scalars())
    assert until == [0, 0, 0, 0, START + DAY]


def test_one_who_dies_in_the_middle_leaves_nothing_half_done(store):
    add(store, minutes(START, START + HOUR))
    with store.engine.connect() as tx, tx.begin() as unfinished:
        assert rolling.roll(tx, START + HOUR) == 60
        unfinished.rollback()
    assert rows(store) == []
    roll(store, START + HOUR)
    assert len(rows(store)) == 13


def test_two_who_do_it_at_once_make_the_same_rows(store):
    for number in range(4):
        add(store, minutes(START, START + DAY), f"h{number}")
    barrier = threading.Barrier(3)

    def work(_number):
        barrier.wait(30)
        return roll(store, START + DAY, piece=3000)

    with ThreadPoolExecutor(3) as pool:
        taken = list(pool.map(work, range(3)))
    assert sum(taken) == 4 * 1440  # each sample was taken once, by whomever
    assert len(rows(store)) == 4 * (288 + 24 + 1)


def test_a_late_sample_changes_the_steps_it_belongs_to(store):
    values = minutes(START, START + 1.5 * DAY)
    add(store, values)
    now = START + 1.5 * DAY
    roll(store, now)
    before, late = rows(store), (START + 3 * HOUR + 30, 1000.0)
    assert add(store, [late]) == 1
    everything = sorted([*values, late])
    same(read(store, 3600, ago=1.5 * DAY, now=now)["cpu"], summaries(everything, 3600))  # at once, for whoever reads
    roll(store, now)
    changed = sorted((row[1], row[2]) for row in set(rows(store)) - set(before))
    assert changed == [(300, START + 3 * HOUR), (3600, START + 3 * HOUR), (86400, START)]
    same(read(store, DAY, ago=1.5 * DAY, now=now)["cpu"], summaries(everything, DAY))


def test_a_sample_that_is_added_while_its_step_is_summarised_is_not_missed(store):
    """On PostgreSQL neither would see the other, if they did not take turns."""
    add(store, minutes(START, START + 10 * MINUTE))
    adding, entered = threading.Event(), threading.Event()

    def summarise():
        adding.wait(30)
        entered.set()
        roll(store, START + HOUR)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(summarise)
        with store.begin() as tx:
            samples.add(tx, [samples.Taken(host="h1", at=START + 650, metrics={"cpu": a_metric(500.0)})])
            adding.set()
            entered.wait(30)
            assert not done.done()
        done.result(30)
    roll(store, START + HOUR)
    (point,) = read(store, 3600, ago=HOUR, now=START + HOUR - 1)["cpu"]
    assert (point.count, point.high) == (11, 500.0)


def test_two_who_measure_in_the_same_second_write_one_row(store):
    def work(number):
        return add(store, [(START + number / 10, float(number))])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with store.read() as connection:
        assert [at for at, _value in samples.read(connection, "h1", "cpu", 0)] == [START]


def forget(store, before):
    turns = 0
    while True:
        with store.begin() as tx:
            if not rolling.forget_samples(tx, before, most=2):
                return turns
        turns += 1


def raw(store, host="h1"):
    with store.read() as connection:
        return [at for at, _value in samples.read(connection, host, "cpu", 0)]


def test_samples_are_forgotten_in_whole_days_and_never_before_they_are_summarised(store):
    values = minutes(START, START + 3 * DAY)
    for host in ("h1", "h2", "h3"):
        add(store, values, host)
    assert forget(store, START + 2.7 * DAY) == 0
    assert len(raw(store)) == len(values)
    roll(store, START + 1.5 * DAY)
    assert forget(store, START + 2.7 * DAY) == 0
    roll(store, START + 3 * DAY)
    assert forget(store, START + 2.7 * DAY) == 4  # two days of two series, then of the third
    assert {tuple(raw(store, host)) for host in ("h1", "h2", "h3")} == {
        tuple(at for at, _value in values if at >= START + 2 * DAY)
    }
    same(read(store, 3600, ago=3 * DAY, now=START + 3 * DAY - 1)["cpu"], summaries(values, 3600))


def test_a_sample_of_a_day_that_is_forgotten_is_not_taken_and_harms_no_summary(store):
    values = minutes(START, START + 2 * DAY)
    add(store, values)
    roll(store, START + 2 * DAY)
    forget(store, START + DAY)
    before = rows(store)
    assert add(store, [(START + HOUR, 1.0)]) == 0
    roll(store, START + 2 * DAY)
    assert rows(store) == before
    assert min(raw(store)) == START + DAY


def test_each_level_is_forgotten_after_its_own_time(store):
    for host in ("h1", "h2", "h3"):
        add(store, minutes(START, START + 4 * DAY), host)
    now = START + 4 * DAY
    roll(store, now)
    before = {300: now - DAY, 3600: now - 2.5 * DAY, 86400: now - 3 * DAY}
    after = 0
    while after is not None:
        with store.begin() as tx:
            after = rolling.forget_rollups(tx, before, after, most=2)
    kept = {step: {row[2] for row in rows(store) if row[1] == step} for step in LEVELS}
    assert {step: min(found) for step, found in kept.items()} == {
        300: START + 3 * DAY, 3600: START + DAY, 86400: START + DAY,
    }  # fmt: skip
    assert len(rows(store)) == 3 * (288 + 72 + 3)


def test_the_name_of_a_series_is_forgotten_with_its_last_number(store):
    add(store, [(START + 10, 1.0)], "gone")
    add(store, [(START + 4 * DAY, 1.0)], "here")
    roll(store, START + 4 * DAY)
    forget(store, START + 3 * DAY)
    with store.begin() as tx:
        assert rolling.forget_empty(tx) == 0  # its summaries are still there
        rolling.forget_rollups(tx, dict.fromkeys(LEVELS, START + 3 * DAY))
        assert rolling.forget_empty(tx) == 1
    with store.read() as connection:
        assert connection.execute(select(schema.series.c.host)).scalars().all() == ["here"]
    assert add(store, [(START + 10, 2.0)], "gone") == 1  # it may come back


def test_a_longer_step_than_any_that_is_kept_is_put_together(store):
    values = minutes(START, START + 2 * DAY)
    add(store, values)
    roll(store, START + 1.7 * DAY)
    now = START + 2 * DAY - 1
    for step in (600, 7200):
        exact = {point.at: point for point in summaries(values, step)}
        found = read(store, step, ago=2 * DAY - 1, now=now)["cpu"]
        assert [(p.at, p.low, p.high, p.count) for p in found] == [
            (p.at, p.low, p.high, p.count) for p in exact.values()
        ]
        assert [p.mean for p in found] == pytest.approx([p.mean for p in exact.values()])
        assert all(point.p95 >= exact[point.at].p95 for point in found)  # a bound, and said to be one


def test_a_shorter_step_is_read_from_the_samples(store):
    values = minutes(START, START + 2 * HOUR)
    add(store, values)
    roll(store, START + 2 * HOUR)
    same(read(store, 120, ago=2 * HOUR, now=START + 2 * HOUR - 1)["cpu"], summaries(values, 120))


def test_what_is_wanted_is_cut_at_whole_steps_and_never_after_now(store):
    values = minutes(START, START + DAY)
    add(store, values)
    roll(store, START + DAY)
    now = START + 10.25 * HOUR
    found = read(store, 3600, ago=3 * HOUR, until=HOUR, now=now)["cpu"]
    assert [point.at for point in found] == [START + n * HOUR for n in (7, 8, 9)]
    assert [point.count for point in found] == [60] * 3
    newest = read(store, 3600, ago=HOUR, now=now)["cpu"][-1]
    assert (newest.at, newest.count) == (START + 10 * HOUR, 16)  # a step that was not over then
    measured = read(store, 0, ago=600, now=now)["cpu"]
    assert [point.at for point in measured] == [now - 600 + n * 60 for n in range(11)]
    assert {point.count for point in measured} == {1}


def test_metrics_are_found_by_pattern_and_those_without_numbers_are_left_out(store):
    for name in ("disk_usage:/", "disk_usage:/var", "disk_used:/", "load"):
        add(store, [(START, 1.0), (START + 60, 2.0)], name=name)
    add(store, [(START - 2 * DAY, 1.0)], name="disk_usage:/gone")
    for step in (0, 300):
        found = read(store, step, ago=HOUR, now=START + 61, metrics=("disk_usage:*", "load"))
        assert list(found) == ["disk_usage:/", "disk_usage:/var", "load"]
    assert read(store, 300, ago=HOUR, now=START, host="h9") == {}
    assert read(store, 300, ago=HOUR, now=START, metrics=("nothing",)) == {}


def test_a_gap_in_the_samples_is_a_gap_in_the_steps(store):
    values = [*minutes(START, START + HOUR), *minutes(START + 2.5 * DAY, START + 2.6 * DAY)]
    add(store, values)
    for now in (START + 1.5 * HOUR, START + DAY + 5, START + 2.6 * DAY):
        roll(store, now)
    assert [row[2] for row in rows(store) if row[1] == DAY] == [START]
    same(read(store, 3600, ago=3 * DAY, now=START + 2.6 * DAY)["cpu"], summaries(values, 3600))


LARGE = 1.7e308
"""Two of them together are larger than any float."""


@pytest.mark.parametrize(
    ("values", "mean"),
    [([LARGE] * 2, LARGE), ([LARGE] * 7, LARGE), ([-LARGE] * 3, -LARGE), ([LARGE, LARGE, -LARGE], LARGE / 3)],
)
def test_the_mean_of_large_numbers_is_a_number(values, mean):
    made = summaries(((float(at), value) for at, value in enumerate(values)), 300)
    halves = [*summaries([(0.0, values[0])], 300), *summaries([(1.0, value) for value in values[1:]], 300)]
    for point in (*made, merged(0.0, made), merged(0.0, halves)):
        assert point.mean == pytest.approx(mean)
        assert point.low <= point.mean <= point.high


def test_a_merged_summary_says_what_it_can():
    parts = [Point(at=0, mean=1, low=0, high=4, p95=3, count=1), Point(at=300, mean=5, low=4, high=9, p95=8, count=3)]
    assert merged(0, parts) == Point(at=0, mean=4, low=0, high=9, p95=8, count=4)


def test_a_past_is_read_by_name_when_it_is_looked_at(store):
    add(store, minutes(START, START + HOUR))
    wanted = [
        SeriesWanted(name="raw", metrics=("cpu",), ago=HOUR),
        SeriesWanted(name="steps", metrics=("*",), ago=HOUR, step=300),
    ]
    asked = []
    with store.read() as connection:
        event.listen(store.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
        past = rollups.Past(connection, "h1", wanted, START + HOUR - 1)
        assert (list(past), len(past), asked) == (["raw", "steps"], 2, [])
        assert len(past["steps"]["cpu"]) == 12
        once = len(asked)
        assert past["steps"] is past["steps"]
        assert len(asked) == once
        assert len(past["raw"]["cpu"]) == 60
        assert past.get("nothing") is None

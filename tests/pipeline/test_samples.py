"""What is measured becomes samples; the upkeep makes summaries of them, and forgets each after its own time."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from opsqueue.model.kind import Analysis, Finding, Metric
from opsqueue.model.names import Severity, Stage
from opsqueue.model.sample import DAY, LEVELS, SeriesWanted
from opsqueue.pipeline.upkeep import upkeep
from opsqueue.store import rollups, samples, schema, targets

MIDNIGHT = 1_800_057_600.0


def stored(story):
    """Every sample, as `(host, metric, UNIX time, value)`."""
    query = select(schema.series.c.host, schema.series.c.metric, schema.samples.c.at, schema.samples.c.value)
    with story.store.read() as connection:
        return sorted(
            map(
                tuple,
                connection.execute(
                    query.join_from(schema.series, schema.samples, schema.series.c.id == schema.samples.c.series_id)
                ),
            )
        )


def test_a_host_that_cannot_be_reached_is_not_up_and_has_no_other_sample(story):
    story.machines["h2"].reachable = False
    story.drive(story.ask("look_value", systems=["h1", "h2"]))
    assert [row[:2] + row[3:] for row in stored(story)] == [("h1", "value", 0.0), ("h2", "up", 0.0)]
    assert all(row[2] == row[2] // 1 for row in stored(story))


def test_when_no_host_can_be_reached_that_is_known_as_well(story):
    story.machines["h1"].reachable = False
    shown = story.drive(story.ask("look_value"))
    assert shown["metrics"] == {}
    assert [row[:2] + row[3:] for row in stored(story)] == [("h1", "up", 0.0)]


def test_a_host_that_is_not_trusted_was_not_asked_whether_it_is_up(story):
    story.machines["h1"].trusted = False
    story.drive(story.ask("look_value"))
    assert stored(story) == []


def test_two_operations_that_look_in_the_same_second_write_one_sample(story):
    asked = [story.ask("look_value") for _ in range(2)]
    for number in range(len(Stage)):
        for operation_id in asked:  # side by side, as two workers would
            story.clock.at = MIDNIGHT + number / 10
            story.step(operation_id)
    assert [story.show(one)["outcome"] for one in asked] == ["succeeded"] * 2
    assert len(stored(story)) == 1


def fill(story, days):
    """A sample every 10 minutes of so many days before now."""
    begin = story.clock.at - days * DAY
    taken = [
        samples.Taken(
            host="h1", at=begin + n * 600, metrics={"cpu": Metric(name="cpu", value=float(n), unit="percent")}
        )
        for n in range(int(days * DAY // 600))
    ]
    with story.store.begin() as tx:
        assert samples.add(tx, taken) == len(taken)


def kept(story):
    """The oldest of the samples and of each summary, in days before now, and how many there are."""
    with story.store.read() as connection:
        table = schema.samples
        rows = [(0, *connection.execute(select(func.min(table.c.at), func.count()).select_from(table)).one())]
        table = schema.rollups
        query = select(table.c.step, func.min(table.c.at), func.count()).group_by(table.c.step)
        rows += [tuple(row) for row in connection.execute(query)]
    return {step: ((story.clock.at - at) / DAY, count) for step, at, count in rows}


def test_upkeep_summarises_and_each_level_has_its_own_time(story):
    story.clock.at = MIDNIGHT
    fill(story, 12)
    story.settings |= {
        "sample_retention_days": 2, "sample_5m_retention_days": 4,
        "sample_1h_retention_days": 6, "sample_1d_retention_days": 8,
    }  # fmt: skip
    upkeep(story.world())
    assert kept(story) == {
        0: (2, 2 * 144), 300: (4, 4 * 144), 3600: (6, 6 * 24), 86400: (8, 8),
    }  # fmt: skip


def test_by_default_samples_are_kept_for_a_week_and_summaries_for_longer(story):
    story.clock.at = MIDNIGHT + 3600
    fill(story, 12)
    upkeep(story.world())
    found = kept(story)
    assert 7 <= found[0][0] < 8
    assert {step: round(days) for step, (days, _count) in found.items() if step} == dict.fromkeys(LEVELS, 12)


def test_an_upkeep_whose_worker_dies_anywhere_is_done_by_the_next(story):
    story.clock.at = MIDNIGHT
    story.settings |= {"sample_retention_days": 1}
    fill(story, 3)
    whole = story.store
    with pytest.raises(BaseException) as death:  # of the stories' own kind
        story.crash()
    crash = 0
    while True:
        crash += 1
        dying = story.dying(crash, kept=crash % 2 == 0)
        with suppress(death.type):
            upkeep(story.world())
        story.store = whole
        if dying.writes < crash:
            break
        story.clock.at += 3600
    with story.store.read() as connection:
        wanted = SeriesWanted(name="it", metrics=("cpu",), ago=story.clock.at - MIDNIGHT + 3 * DAY, step=DAY)
        found = rollups.read(connection, "h1", wanted, story.clock.at)["cpu"]
    assert [(point.at - MIDNIGHT, point.count) for point in found] == [(-3 * DAY, 144), (-2 * DAY, 144), (-DAY, 144)]
    assert [point.mean for point in found] == pytest.approx([71.5, 215.5, 359.5])
    assert crash > 4


NAN, INFINITE = float("nan"), float("inf")


def test_a_number_that_is_none_is_left_out_everywhere_and_it_is_said(story, monkeypatch):
    strange = {"nan": NAN, "inf": INFINITE, "minus": -INFINITE, "huge": 10**400}
    told = (Metric(name="good", value=1.5, unit="s"), Metric(name="not_known", value=None, unit="s"))
    made = type(story).world
    kind = replace(
        story.world().kinds["look_value"],
        measure=lambda params, before, after: (
            tuple(Metric(name=name, value=value, unit="s") for name, value in strange.items()) + told
        ),
        analyse=lambda params, seen: Analysis(
            findings=(Finding(severity=Severity.INFO, code="x", message="x", evidence={"now": [NAN, (INFINITE,)]}),),
            metrics=(Metric(name="trend", value=NAN, unit="s"), Metric(name="slope", value=2.0, unit="s")),
            score=NAN,
        ),
    )
    monkeypatch.setattr(
        type(story), "world", lambda *given, **more: replace(made(*given, **more), kinds={kind.name: kind})
    )
    shown = story.drive(story.ask("look_value"))
    assert {name: one["value"] for name, one in shown["metrics"]["h1"].items()} == {
        "good": 1.5,
        "not_known": None,
        "slope": 2.0,
    }
    assert (shown["outcome"], shown["health_score"]) == ("succeeded", None)
    assert shown["findings"][0]["evidence"] == {"now": [None, [None]]}
    assert [row[1] for row in stored(story)] == ["good", "slope"]
    why = {stage["stage"]: stage["why"] for stage in shown["stages"]}
    assert why["collect"].endswith("left out, for they are no finite numbers: h1 nan, h1 inf, h1 minus, h1 huge")
    assert why["analyze"].endswith("left out, for they are no finite numbers: h1 trend")
    json.dumps(shown, allow_nan=False)


def test_an_answer_with_numbers_that_are_none_is_kept_without_them(story):
    story.machines["h1"].value = NAN
    shown = story.drive(story.ask("look_value"))
    with story.store.read() as connection:
        (target,) = targets.of(connection, shown["operation_id"])
        assert target.after == {"value": {"value": None}}
        kept = connection.execute(select(schema.targets.c.after, schema.targets.c.before)).one()
    assert not any("NaN" in text for text in kept)

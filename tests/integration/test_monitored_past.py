"""`system_monitoring` of this machine, with a record that knows what was before."""

from __future__ import annotations

import time

import pytest

from opsqueue.cli.svg import svg
from opsqueue.connectors.procfs import reading_script, reading_text
from opsqueue.model.kind import Metric
from opsqueue.model.names import Stage
from opsqueue.model.request import parse_request
from opsqueue.operations.system_monitoring import SystemMonitoringParams
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.preview import preview
from opsqueue.pipeline.report import Reporter
from opsqueue.pipeline.submit import submit
from opsqueue.pipeline.upkeep import upkeep
from opsqueue.pipeline.views import whole
from opsqueue.settings import Settings
from opsqueue.store import samples
from opsqueue.store.upgrade import upgrade

WEEK = 7 * 86_400.0


@pytest.fixture
def world(tmp_path):
    settings = Settings(state_dir=tmp_path, hosts={"h1": {"connector": "local"}})
    found = assemble(settings, dispatch=lambda _operation: None, worker="test")
    upgrade(found.store)
    yield found
    found.store.close()


def looked(world, **parameters):
    request = parse_request(
        {"name": "look", "type": "system_monitoring", "target_systems": ["h1"], "parameters": parameters}
    )
    asked = submit(world, request).id
    advance(world, asked, Stage.VERIFY, go_on=True)
    shown = whole(world.store, asked, time.time())
    assert shown["outcome"] == "succeeded"
    return shown


def was(world, begin, end, value):
    """The memory usage of each minute between two moments, in seconds before now."""
    now = time.time()
    metrics = {"memory_usage": Metric(name="memory_usage", value=value, unit="percent")}
    taken = [samples.Taken(host="h1", at=now - ago, metrics=metrics) for ago in range(int(begin), int(end), -60)]
    with world.store.begin() as tx:
        samples.add(tx, taken)


@pytest.mark.parametrize("summarised", [False, True])
def test_what_the_record_knows_is_said(world, summarised):
    was(world, WEEK + 7200, WEEK - 7200, 500.0)  # no machine has that now
    was(world, 2 * 3600, 0, 0.001)
    if summarised:
        upkeep(world)
    shown = looked(world, metrics=["memory"], thresholds={"memory_usage": 0})
    found = {one["code"]: one for one in shown["findings"]}
    assert found["memory_usage_high"]["evidence"]["for_s"] >= 3600
    assert "more than 0 %, for " in found["memory_usage_high"]["message"]
    last_week = found["unlike_last_week"]
    assert last_week["severity"] == "info"
    assert last_week["evidence"]["last_week"] == 500
    assert last_week["evidence"]["mean"] < 100
    assert "last week it was 500 % (500 to 500 %)" in last_week["message"]


def test_without_a_past_there_is_no_word_about_it(world):
    shown = looked(world, metrics=["memory"], thresholds={"memory_usage": 0})
    (finding,) = shown["findings"]
    assert finding["code"] == "memory_usage_high"
    assert finding["message"].endswith("more than 0 %")
    assert shown["metrics"]["h1"]["up"] == {"value": 1.0, "unit": "state"}
    with world.store.read() as connection:
        assert [value for _at, value in samples.read(connection, "h1", "up", 0)] == [1.0]


def test_a_report_draws_the_last_day(world):
    was(world, 30 * 3600, 0, 12.5)
    shown = looked(world, metrics=["memory", "processes"])
    reporter = Reporter(store=world.store, settings=world.settings, kinds=world.kinds, hosts=world.inventory.hosts)
    sections = {one.title: one for one in reporter.report(shown["operation_id"], time.time()).sections}
    (chart,) = sections["The last 24 hours"].charts
    (line,) = [one for one in chart.lines if one.label == "memory_usage"]
    assert 280 <= len(line.points) <= 290, "a day of steps of 5 minutes"
    assert {value for _at, value in line.points[:-2]} == {12.5}
    assert [row[0] for row in sections["Resources"].grids[0].rows] == ["memory"]
    assert sections["Busiest processes"].grids[0].rows
    drawn = svg(chart)
    assert "memory_usage" in drawn
    assert "limit" in drawn


def planned(world, *hosts):
    request = parse_request({"name": "look", "type": "system_monitoring", "target_systems": list(hosts)})
    return preview(world, request)["targets"]


def test_a_plan_says_what_would_be_kept_and_what_the_last_look_measured(world):
    (first,) = planned(world, "h1")
    assert (first["last"], first["series"]) == (None, [])
    shown = looked(world)
    (then,) = planned(world, "h1")
    known = {name: one for name, one in shown["metrics"]["h1"].items() if one["value"] is not None}
    assert then["last"]["metrics"] == known
    with world.store.read() as connection:
        assert then["series"] == sorted(samples.units(connection, "h1")) == sorted(known)
    assert (then["connector"], then["script"], then["answer_bytes"]) == ("local", "", None)


def test_a_plan_over_ssh_shows_the_very_text(tmp_path):
    settings = Settings(state_dir=tmp_path, hosts={"far": {"connector": "ssh", "address": "127.0.0.1", "port": 1}})
    world = assemble(settings, dispatch=lambda _operation: None, worker="test")
    upgrade(world.store)
    try:
        (target,) = planned(world, "far")
        (fact,) = world.kind("system_monitoring").facts(SystemMonitoringParams())
        assert target["script"] == reading_text(reading_script(fact.ask.options))
        assert target["answer_bytes"] > len(target["script"])
    finally:
        world.store.close()

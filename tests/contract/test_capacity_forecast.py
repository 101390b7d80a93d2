"""The forecast of capacity planning: what must hold of any course, and the shapes that mislead a straight line."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opsqueue.model.kind import Metric, Seen
from opsqueue.model.sample import Point
from opsqueue.operations.capacity.cost import cost
from opsqueue.operations.capacity.days import DAY, course
from opsqueue.operations.capacity.forecast import cause, crossing, forecast, lone_drops
from opsqueue.operations.capacity.loads import ranked
from opsqueue.operations.capacity_planning import OPERATION, CapacityPlanningParams

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "bench"))

from capacity_series import made, real
from forecast_bench import judge_groups

FIRST = 20_000
PERCENT = st.floats(0, 100, allow_nan=False)
COURSES = st.lists(PERCENT | st.none(), min_size=20, max_size=120).filter(
    lambda values: sum(value is not None for value in values) >= 14
)
MODELS = st.sampled_from(["drift", "level"])


def of(values):
    points = [Point.raw((FIRST + day) * DAY, value) for day, value in enumerate(values) if value is not None]
    return course("disk_usage:/", points, (FIRST + len(values)) * DAY)


@settings(max_examples=40, deadline=None)
@given(COURSES, MODELS, st.integers(1, 365))
@example([None, 0.0, 0.0, 5e-174, 2.0, None, 1.0, *[0.0] * 10, None, None, 0.0], "drift", 1)  # its trend squared is 0
def test_the_range_holds_what_is_likely_and_stays_in_what_there_is(values, model, ahead):
    known = of(values)
    if len(known.days) < 2:  # a long gap left nothing
        return
    found = forecast(known, model)
    narrow, wide = found.at(ahead, 0.5), found.at(ahead, 0.95)
    assert 0 <= wide.low <= narrow.low <= narrow.likely <= narrow.high <= wide.high <= 100


@settings(max_examples=40, deadline=None)
@given(COURSES, MODELS, st.floats(1, 100))
def test_earliest_likely_latest_come_in_this_order(values, model, level):
    known = of(values)
    if len(known.days) < 2:
        return
    days = crossing(forecast(known, model), level, 0.8)
    order = [math.inf if day is None else day for day in (days.earliest, days.likely, days.latest)]
    assert order == sorted(order)
    assert all(day is None or 0 <= day <= 365 for day in (days.earliest, days.likely, days.latest))


@settings(max_examples=40, deadline=None)
@given(COURSES, st.integers(-5000, 5000), MODELS)
def test_the_forecast_does_not_hang_on_the_calendar_but_by_weeks(values, weeks, model):
    points = [Point.raw((FIRST + day) * DAY, value) for day, value in enumerate(values) if value is not None]
    moved = [Point.raw(point.at + weeks % 1000 * 7 * DAY, point.high) for point in points]
    end = (FIRST + len(values)) * DAY
    one, other = course("m", points, end), course("m", moved, end + weeks % 1000 * 7 * DAY)
    if len(one.days) < 2:
        return
    assert forecast(one, model).at(30).likely == pytest.approx(forecast(other, model).at(30).likely, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(COURSES)
def test_the_changes_of_the_days_add_up_whatever_gaps_there_are(values):
    known = of(values)
    if known.days:
        assert sum(known.steps()) == pytest.approx(known.values[-1] - known.values[0], abs=1e-6)
        assert len(known.steps()) == known.length - 1


def test_a_day_counts_by_its_highest_value_and_one_of_bursts_by_its_95th_percentile():
    first = [Point(at=(FIRST + n) * DAY, mean=20, low=10, high=70 + n, p95=50 + n, count=100) for n in range(3)]
    end = (FIRST + 3) * DAY
    assert course("disk_usage:/", first, end).values == (70, 71, 72)
    assert course("cpu_usage", first, end, burst=True).values == (50, 51, 52)


LOADS = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 1)), min_size=1, max_size=30).map(
    lambda some: [some[n % len(some)] for n in range(24 * 15)]
)


@settings(max_examples=25, deadline=None)
@given(cpus=st.integers(1, 128), gib=st.integers(1, 1024), cpu=LOADS, memory=LOADS, headroom=st.floats(0, 200))
@example(cpus=2, gib=64, cpu=[(0.0, 0.0)] * 360, memory=[*[(0.0, 0.0)] * 359, (30.0, 1.0)], headroom=0.0)  # a moment
def test_no_advice_goes_below_what_was_used(cpus, gib, cpu, memory, headroom):
    """CPU by the percentile that cost is judged by, memory by the highest value ever; never by a mean."""
    points = {
        name: tuple(
            Point(at=FIRST * DAY + n * 3600, mean=mean, low=0, high=mean + more * (100 - mean), p95=mean)
            for n, (mean, more) in enumerate(values)
        )
        for name, values in {"cpu_usage": cpu, "memory_usage": memory}.items()
    }
    system = {"host": {"cpus": cpus, "memory_total": gib << 30}}
    seen = Seen(
        host="h", before={}, after={"system": system}, metrics={}, earlier={}, at=(FIRST + 15) * DAY, thresholds={},
        series={"days": {name: some[::24] for name, some in points.items()}, "minutes": points, "forecasts": {}},
    )  # fmt: skip
    params = CapacityPlanningParams(headroom_pct=headroom)
    peak = max(point.high for point in points["memory_usage"])
    busy = ranked(sorted(point.mean for point in points["cpu_usage"]), params.cost_percentile)
    for finding in cost(params, seen):
        needed = finding.evidence
        assert needed["memory_gib_needed"] >= gib * peak / 100 * (1 + headroom / 100) - 1e-6
        assert needed["cores_needed"] >= cpus * busy / 100 * (1 + headroom / 100) - 1e-6
        assert finding.code != "host_idle" or (busy < 10 and peak < 20)


@given(st.lists(PERCENT, min_size=1), st.floats(50, 100))
def test_a_percentile_is_one_of_the_values_and_leaves_no_more_above_it_than_it_may(values, share):
    ordered = sorted(values)
    found = ranked(ordered, share)
    assert found in ordered
    assert sum(value > found for value in ordered) <= len(ordered) * (1 - share / 100) + 1e-9


@pytest.mark.parametrize(
    ("steps", "word"),
    [
        ([0.0] * 30, "constant"),
        ([0.5, 0.4, 0.6] * 10, "steady"),
        ([-0.2, -0.1] * 15, "shrinking"),
        ([0.0] * 20 + [30.0] + [0.1] * 9, "step"),
        ([0.1] * 30 + [2.0] * 7, "runaway"),
        ([*[3.0] * 6, -18.0] * 6, "sawtooth"),
        ([*[1.0] * 29, -29.0] * 3, "monthly"),
        ([*[1.0] * 29, -29.0] * 2, "steady"),  # one whole month is no habit yet
    ],
)
def test_a_course_is_called_what_it_looks_like(steps, word):
    assert cause(steps) == word


def test_one_cleanup_is_an_event_and_many_are_a_habit():
    assert lone_drops([1.0] * 20 + [-30.0] + [1.0] * 20) == [20]
    assert lone_drops([*[1.0] * 6, -6.0] * 6) == []
    assert lone_drops([]) == []


def test_it_is_nearer_than_a_straight_line_and_its_range_holds_what_it_says():
    """The acceptance of the forecast, on real growth and on made courses; `make bench` prints the whole table."""
    scores = judge_groups([*real(), *made(3)], every=26)
    for group, score in scores.items():
        for ahead in (7, 30):
            ours, line = (score[name].error(ahead) for name in ("opsqueue", "straight line"))
            assert ours < line, (group, ahead, ours, line)
        assert 70 <= score["opsqueue"].coverage(30, 0.8) <= 97, group
        assert 40 <= score["opsqueue"].coverage(30, 0.5) <= 80, group
    assert set(scores) == {"real growth", "made volumes", "made loads"}


@settings(max_examples=15, deadline=None)
@given(st.lists(COURSES, min_size=3, max_size=3), st.lists(st.floats(1e6, 1e12), min_size=20, max_size=120))
def test_whatever_the_past_was_it_is_judged_and_shown_without_a_number_that_is_none(courses, left):
    wanted = ("disk_usage:/var", "memory_usage", "cpu_usage")
    end = (FIRST + 120) * DAY
    daily = {
        name: tuple(Point.raw(end - (len(values) - n) * DAY, v) for n, v in enumerate(values) if v is not None)
        for name, values in zip(wanted, courses, strict=True)
    }
    daily["disk_available:/var"] = tuple(Point.raw(end - (len(left) - n) * DAY, v) for n, v in enumerate(left))
    minutes = {"cpu_usage": daily["cpu_usage"], "memory_usage": daily["memory_usage"]}
    mount = {"mount": "/var", "device": "/dev/sda1", "used": 5 << 30, "available": 5 << 30, "total": 11 << 30}
    system = {"host": {"cpus": 4, "memory_total": 8 << 30}, "memory": {"total": 8 << 30}, "disk": {"mounts": [mount]}}
    what_if = [{"name": "a", "mount": "/var", "expand_gib": -20}, {"name": "b", "load_pct": 50}]
    params = CapacityPlanningParams.model_validate({"what_if": what_if})
    seen = Seen(
        host="h", before={}, after={"system": system}, metrics={}, earlier={}, at=end + 3600.0,
        thresholds={"cpu_usage": 80.0, "memory_usage": 85.0, "disk_usage": 90.0},
        series={"days": daily, "minutes": minutes, "forecasts": {}},
    )  # fmt: skip
    analysis = OPERATION.analyse(params, seen)
    for finding in analysis.findings:
        assert not re.search(r"\b(nan|inf|None)\b", f"{finding.message} {finding.advice}")
    assert all(metric.value is None or math.isfinite(metric.value) for metric in analysis.metrics)
    names = [metric.name for metric in analysis.metrics]
    assert len(names) == len(set(names))
    assert OPERATION.report(params, seen)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats() | st.floats(1, 5), min_size=20, max_size=60))
@example([1.7e308, -1.7e308] * 15)
@example([1.7e308] * 30)
def test_what_a_host_says_of_itself_may_be_any_number(values):
    end = (FIRST + 120) * DAY
    daily = {"queue": tuple(Point.raw(end - (len(values) - n) * DAY, v) for n, v in enumerate(values))}
    params = CapacityPlanningParams.model_validate({"limits": {"queue": 1000}})
    seen = Seen(
        host="h", before={}, after={}, metrics={}, earlier={}, at=end + 3600.0,
        thresholds={"cpu_usage": 80.0, "memory_usage": 85.0, "disk_usage": 90.0},
        series={"days": daily, "minutes": {}, "forecasts": {}},
    )  # fmt: skip
    analysis = OPERATION.analyse(params, seen)
    json.dumps([finding.evidence for finding in analysis.findings], allow_nan=False)
    assert all(metric.value is None or math.isfinite(metric.value) for metric in analysis.metrics)
    assert OPERATION.report(params, seen)


def days(host, earliest, likely):
    pairs = {"days_to_threshold_earliest:disk_usage:/": earliest, "days_to_threshold:disk_usage:/": likely}
    return host, {name: Metric(name=name, value=value, unit="days") for name, value in pairs.items()}


def test_of_many_hosts_it_is_said_how_many_are_full_soon():
    fleet = dict([days("a", 10, 40), days("b", 80, None), days("c", None, None), ("d", {})])
    (section,) = OPERATION.overview(fleet)
    assert section.text == (
        "0 of 4 hosts reach a threshold within 30 days if it goes on as is likely, 1 at the earliest.",
        "1 of 4 hosts reach a threshold within 90 days if it goes on as is likely, 2 at the earliest.",
    )
    assert [row[:3] for row in section.grids[0].rows] == [("a", "disk_usage:/", 10), ("b", "disk_usage:/", 80)]
    assert OPERATION.overview(dict([days("a", 1, 2)])) == ()


def test_only_what_is_asked_for_is_read():
    wanted = {one.name: one for one in OPERATION.series(CapacityPlanningParams(history_days=30))}
    assert wanted["days"].ago == 30 * DAY
    assert wanted["days"].step == DAY

"""How long a limit has been exceeded, and what was far from this in the same hour of last week."""

from __future__ import annotations

import pytest

from opsqueue.model.kind import Metric, Seen
from opsqueue.model.sample import DAY, Point
from opsqueue.operations.system_monitoring import OPERATION, SystemMonitoringParams
from opsqueue.operations.system_past import in_words, lasted, unlike_last_week

NOW = 1_800_000_150.0
HOUR, WEEK = 3600.0, 7 * DAY


def steps(size, values, end=NOW):
    """One point for each value, the last one in the step in which `end` lies; None is a step without any."""
    last = end // size * size
    found = [(last - (len(values) - 1 - n) * size, value) for n, value in enumerate(values)]
    return tuple(
        Point(at=at, mean=value, low=value - 1, high=value + 1, p95=value, count=5)
        for at, value in found
        if value is not None
    )


def seen(**series):
    return Seen(host="h1", before={}, after={}, metrics={}, earlier={}, thresholds={}, at=NOW, series=series)


def long(recent, hours=(), days=()):
    found = seen(
        recent={"cpu": steps(300, recent)},
        hours={"cpu": steps(3600, hours, NOW - 3 * HOUR)},
        days={"cpu": steps(DAY, days, NOW - DAY)},
    )
    return lasted(found, "cpu", 90.0)


@pytest.mark.parametrize(
    ("recent", "hours", "least", "most"),
    [
        ([50] * 36, [], None, None),
        ([50] * 35 + [95], [], None, None),  # not for long
        ([50] * 33 + [95] * 3, [], 600, 900),
        ([50] * 12 + [95] * 24, [], 2 * HOUR - 300, 2 * HOUR),
        ([95] * 20 + [90.5] + [95] * 6, [], 1500, 1800),  # its lowest was not above
        ([95] * 20 + [None] * 2 + [95] * 6, [], 27 * 300, 28 * 300),  # two steps are no gap
        ([95] * 20 + [None] * 3 + [95] * 6, [], 1500, 1800),
        ([95] * 37, [], 3 * HOUR, 3 * HOUR + 300),
        ([95] * 37, [95] * 5 + [50] + [95] * 2, 4 * HOUR, 5 * HOUR),
        ([95] * 37, [95] * 5 + [None] + [95] * 2, 4 * HOUR, 5 * HOUR),
        ([95] * 37, [95] * 22, DAY - HOUR, DAY + HOUR),
        ([None] * 36, [95] * 5, None, None),
        ([95] * 3 + [None] * 3, [], None, None),  # what is above now was not looked at for a while
    ],
)  # fmt: skip
def test_for_how_long(recent, hours, least, most):
    found = long(recent, hours)
    assert found is None if least is None else least <= found <= most


def test_longer_than_a_day():
    assert 4 * DAY <= long([95] * 37, [95] * 22, [50, *[95] * 4]) <= 6 * DAY
    assert 29 * DAY <= long([95] * 37, [95] * 22, [95] * 30) <= 31 * DAY
    assert long([95] * 37, [50, *[95] * 21], [95] * 30) <= DAY + HOUR


def test_readings_that_are_far_apart_are_no_gap():
    sparse = [95 if n % 6 == 0 else None for n in range(37)]
    assert 3 * HOUR - 300 <= long(sparse) <= 3 * HOUR + 300


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (600, ", for 10 min"),
        (7199, ", for 119 min"),
        (7200, ", for 2 h"),
        (3 * HOUR + 200, ", for 3 h"),
        (47.9 * HOUR, ", for 47 h"),
        (3 * DAY, ", for 3 days"),
        (WEEK, ", for 7 days"),
        (29.5 * DAY, ", for 30 days or longer"),
    ],
)
def test_how_long_in_words(seconds, words):
    assert in_words(seconds) == words


def compared(now, then, metric="cpu_usage", subjects=("cpu", "memory", "load", "response")):
    last_week = steps(300, then, NOW - WEEK)
    found = unlike_last_week(subjects, seen(recent={metric: steps(300, now)}, last_week={metric: last_week}))
    return [(one.code, one.severity.value, one.message) for one in found]


def test_both_numbers_are_told():
    ((code, severity, message),) = compared([85] * 13, [20] * 13)
    assert (code, severity) == ("unlike_last_week", "info")
    assert "CPU usage was 85 % on average in the last hour" in message
    assert "last week it was 20 % (19 to 21 %)" in message


@pytest.mark.parametrize(
    ("metric", "now", "then", "told"),
    [
        ("cpu_usage", [39] * 13, [20] * 13, False),
        ("cpu_usage", [41] * 13, [20] * 13, True),
        ("cpu_usage", [20] * 13, [41] * 13, True),  # much less is a word worth as well
        ("cpu_usage", [20] * 12 + [99], [20] * 13, False),  # one peak is not the hour
        ("cpu_usage", [90] * 24 + [20] * 13, [20] * 13, False),  # nor what was before it
        ("cpu_usage", [85] * 13, [], False),
        ("cpu_usage", [None] * 13, [20] * 13, False),
        ("cpu_usage", [85] * 13, [20] + [None] * 13, False),  # that was another hour
        ("load_per_cpu_5m", [1.4] * 13, [1.0] * 13, False),
        ("load_per_cpu_5m", [2.1] * 13, [1.0] * 13, True),
        ("load_per_cpu_5m", [0.3] * 13, [0.01] * 13, False),  # many times nothing is little
        ("response_time", [300.0] * 13, [100.0] * 13, True),
        ("response_time", [90.0] * 13, [10.0] * 13, False),
        ("zombies", [90.0] * 13, [10.0] * 13, False),
    ],
)  # fmt: skip
def test_what_is_far_from_last_week(metric, now, then, told):
    assert bool(compared(now, then, metric)) is told


def analysed(cpu, **series):
    params = SystemMonitoringParams(metrics=["cpu"])
    reading = {"system": {"cpu": {"busy": cpu, "iowait": 0.0, "steal": 0.0}}}
    metrics = {metric.name: metric for metric in OPERATION.measure(params, {}, reading)}
    found = Seen(
        host="h1", before={}, after=reading, metrics=metrics, earlier={}, thresholds={"cpu_usage": 80.0},
        at=NOW, series=series,
    )  # fmt: skip
    return OPERATION.analyse(params, found).findings


def test_the_analysis_says_for_how_long():
    recent = {"cpu_usage": steps(300, [50] * 13 + [90] * 24)}
    (finding,) = analysed(90.0, recent=recent)
    assert finding.message == "CPU usage is 90 %, more than 80 %, for 117 min"
    assert 7000 < finding.evidence["for_s"] < 7200
    (finding,) = analysed(90.0)
    assert finding.message == "CPU usage is 90 %, more than 80 %"
    assert "for_s" not in finding.evidence


def test_the_analysis_compares_with_last_week():
    last_week = {"cpu_usage": steps(300, [15] * 13, NOW - WEEK)}
    found = analysed(70.0, recent={"cpu_usage": steps(300, [70] * 37)}, last_week=last_week)
    assert [one.code for one in found] == ["unlike_last_week"]
    assert found[0].evidence == {"metric": "cpu_usage", "mean": 70, "last_week": 15}
    assert found[0].host == "h1"


def test_only_what_is_asked_for_is_read_of_the_past():
    names = {one.name: one.metrics for one in OPERATION.series(SystemMonitoringParams(metrics=["cpu", "processes"]))}
    assert names["last_week"] == ("cpu_usage",)
    assert names["hours"] == names["days"] == ("cpu_usage", "cpu_iowait", "cpu_steal")
    assert names["day"] == ("cpu_usage", "cpu_iowait", "cpu_steal")
    assert OPERATION.series(SystemMonitoringParams(metrics=["processes"])) == ()
    probed = SystemMonitoringParams(metrics=["processes"], response_targets=["h1:22"])
    assert [one.name for one in OPERATION.series(probed)] == ["recent", "hours", "days", "last_week", "day"]


def test_a_clock_that_differs_is_told_whatever_is_asked_for():
    params = SystemMonitoringParams(metrics=["memory"])
    assert "clock" in OPERATION.facts(params)[0].ask.options["subjects"]
    for skew, told in ((-7.5, True), (7.5, True), (4.9, False), (None, False)):
        reading = {"system": {"memory": {"percent": 20.0}, "clock": {"time": NOW, "skew_s": skew}}}
        metrics = {metric.name: metric for metric in OPERATION.measure(params, {}, reading)}
        assert metrics["clock_skew"] == Metric(name="clock_skew", value=skew, unit="s")
        assert metrics["up"].value == 1.0
        looked = Seen(host="h1", before={}, after=reading, metrics=metrics, earlier={}, thresholds={})
        assert [one.code for one in OPERATION.analyse(params, looked).findings] == ["clock_skew"] * told


def test_a_host_that_was_not_read_is_not_said_to_be_up():
    assert "up" not in {metric.name for metric in OPERATION.measure(SystemMonitoringParams(), {}, {})}


def drawn(metric, values, **more):
    params = SystemMonitoringParams(metrics=["disk"], thresholds={"disk_usage": 70})
    found = Seen(
        host="h1", before={}, after={}, metrics={}, earlier={}, thresholds={"disk_usage": 90.0}, at=NOW,
        series={"day": {metric: steps(300, values), **more}},
    )  # fmt: skip
    (section,) = OPERATION.report(params, found) or (None,)
    return section and section.charts


def test_a_report_draws_what_the_record_has_of_the_last_day_with_the_limit_that_counts():
    (chart,) = drawn("disk_usage:/", [40, 50, 60])
    assert (chart.title, chart.unit) == ("Disk space", "percent")
    assert [mark.value for mark in chart.marks] == [70], "the operation's own limit, not the configured one"
    assert [value for _at, value in chart.lines[0].points] == [40, 50, 60]
    assert drawn("disk_usage:/", [40]) is None, "one point is no line"


def test_of_many_mounts_the_fullest_are_drawn():
    many = {f"disk_usage:/m{number}": steps(300, [number, number + 1]) for number in range(12)}
    (chart,) = drawn("disk_usage:/", [99, 1], **many)
    assert [line.label for line in chart.lines] == sorted(
        ["disk_usage:/", *(f"disk_usage:/m{n}" for n in range(5, 12))]
    )


def test_several_hosts_stand_beside_each_other_and_what_is_not_known_is_no_zero():
    one = {"cpu_usage": Metric(name="cpu_usage", value=12.5, unit="percent")}
    two = {"cpu_usage": Metric(name="cpu_usage", value=None, unit="percent")}
    (section,) = OPERATION.overview({"h1": one, "h2": two, "h3": {}})
    assert section.grids[0].columns == ("host", "cpu_usage")
    assert section.grids[0].rows == (("h1", "12.5 %"), ("h2", None), ("h3", None))
    assert OPERATION.overview({"h1": one}) == ()

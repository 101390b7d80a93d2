"""Sixty days of a host's past, a capacity planning through the real system, and its report."""

from __future__ import annotations

import math
import time

import pytest

from opsqueue.model.kind import Metric
from opsqueue.store import samples
from opsqueue.store.engine import Store

pytestmark = pytest.mark.service

DAY = 86_400
HOST = "web-server-1"
GROWTH = 0.6
PARTS = ("forecast", "forecast_low", "forecast_high")


def _level(days_ago):
    """Percent of the root file system so many days ago: 78.2 yesterday."""
    return 78.8 - GROWTH * days_ago + 0.05 * math.sin(days_ago)


def _past(now):
    """What a monitoring every six hours left of the last sixty days, and what plannings of before foretold."""
    today = now // DAY * DAY
    for ago in range(60, 0, -1):
        for quarter in range(4):
            at = today - ago * DAY + quarter * DAY / 4
            yield (
                at,
                {
                    "disk_usage:/": (_level(ago) - 0.1 * (3 - quarter), "percent"),
                    "memory_usage": (40.0 + quarter, "percent"),
                    "cpu_usage": (10.0 + 5 * quarter, "percent"),
                },
            )
        if ago > 20:
            said = _level(ago - 7) + 0.4
            parts = {"forecast": said, "forecast_low": said - 1, "forecast_high": said + 1}
            yield today - ago * DAY + 5 * 3600, {f"{p}:disk_usage:/:7d": (v, "percent") for p, v in parts.items()}


@pytest.fixture
def lived(place):
    """A place whose host has a past."""
    assert place.ops("db", "upgrade").code == 0
    store = Store(f"sqlite:///{place.state / 'opsqueue.db'}")
    with store.begin() as tx:
        for at, numbers in _past(time.time()):
            metrics = {name: Metric(name=name, value=value, unit=unit) for name, (value, unit) in numbers.items()}
            samples.add(tx, [samples.Taken(host=HOST, at=at, metrics=metrics)])
    store.close()
    return place


def _kept_for_the_next_time(place, metrics):
    store = Store(f"sqlite:///{place.state / 'opsqueue.db'}")
    with store.read() as connection:
        for name in (f"{part}:disk_usage:/:{ahead}d" for part in PARTS for ahead in (7, 30)):
            lately = samples.read(connection, HOST, name, time.time() - 3600)
            assert [value for _at, value in lately] == [metrics[name]]
    store.close()


def test_a_host_with_a_past_is_planned_for_and_one_without_is_not_guessed(lived, tmp_path):
    words = ("--name", "plan", "--type", "capacity_planning", "--systems", HOST, "web-server-2", "--wait")
    what_if = '[{"name": "twice", "mount": "/", "growth": 2}]'
    parameters = f'{{"resources": ["disk", "memory"], "mounts_include": ["/"], "what_if": {what_if}}}'
    done = lived.ops("execute", *words, "--parameters", parameters, "--output", "json")
    assert done.code == 0, done.err
    told = done.json
    assert told["outcome"] == "succeeded"

    metrics = {name: one["value"] for name, one in told["metrics"][HOST].items()}
    assert metrics["growth_per_day:disk_usage:/"] == pytest.approx(GROWTH, abs=0.02)
    earliest, likely, latest = (
        metrics[f"days_to_threshold{part}:disk_usage:/"] for part in ("_earliest", "", "_latest")
    )
    assert 17 <= earliest <= likely <= latest <= 23  # 11.8 points at 0.6 a day, from yesterday on
    assert metrics["forecast:disk_usage:/:7d"] == pytest.approx(_level(-7), abs=0.5)
    assert metrics["forecast_coverage:disk_usage:/:7d"] == 100
    assert metrics["forecast_error:disk_usage:/:7d"] == pytest.approx(0.4, abs=0.05)

    _kept_for_the_next_time(lived, metrics)
    by_host = {(one["host"], one["code"]): one for one in told["findings"]}
    assert "disk /: 90.0 % in " in by_host[HOST, "capacity_runs_out"]["message"]
    assert "0 daily values, 14 are needed" in by_host["web-server-2", "insufficient_history"]["message"]
    assert not any("days_to_threshold" in name or "forecast" in name for name in told["metrics"]["web-server-2"])

    listed = lived.ops("capacity", "--output", "json")
    first = listed.json["resources"][0]
    assert (first["host"], first["metric"], first["earliest"]) == (HOST, "disk_usage:/", earliest)
    assert listed.json["without_date"] == ["web-server-2"]
    short = told["operation_id"][:8]
    assert f"2 hosts planned for, 1 without a forecast (`opsqueue report {short}` says why); at the earli" in listed.err
    assert lived.ops("capacity", "--within", "5", "--output", "json").json["resources"] == []
    assert "> 365" in lived.ops("capacity", "--systems", HOST).out

    file = tmp_path / "capacity.html"
    assert lived.ops("report", told["operation_id"], "--to", str(file)).code == 0
    page = file.read_text()
    for words in (
        "1 of 2 hosts reach a threshold within 30 days",
        f"{HOST}: Outlook",
        "disk /: 60 days, and 90 ahead",
        "80 % range",
        "what if twice",
        "How earlier forecasts came out",
        "no forecast: 0 daily values, 14 are needed",
    ):
        assert words in page, words
    assert page.count("<svg") >= 3
    assert "<script" not in page

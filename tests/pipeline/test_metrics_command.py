"""`opsqueue metrics`: what the record has of a host, as a list and over time."""

from __future__ import annotations

import shutil
import time

import pytest

from opsqueue.model.kind import Metric
from opsqueue.settings import load
from opsqueue.store import samples
from opsqueue.store.engine import Store


@pytest.fixture
def kept(empty, tmp_path, migrated):
    """The command line with a record in which h1 and a host that is gone were read each minute of the last ten."""
    (tmp_path / "state").mkdir()
    shutil.copy(migrated, tmp_path / "state" / "opsqueue.db")
    store = Store(load(str(empty.config)).database)
    now = time.time()
    with store.begin() as tx:
        for host in ("h1", "gone"):
            for minute in range(1, 11):
                named = {
                    "cpu_usage": (float(minute), "percent"),
                    "disk_usage:/": (50.0, "percent"),
                    "load_1m": (1.0, ""),
                }
                metrics = {name: Metric(name=name, value=value, unit=unit) for name, (value, unit) in named.items()}
                samples.add(tx, [samples.Taken(host=host, at=now - 60 * minute, metrics=metrics)])
    store.close()
    return empty


def test_what_is_measured_of_a_host_is_listed(kept):
    rows = {one["metric"]: one for one in kept("metrics", "h1", "--output", "json").json["series"]}
    assert list(rows) == ["cpu_usage", "disk_usage:/", "load_1m"]
    cpu = rows["cpu_usage"]
    assert [cpu[key] for key in ("last", "low", "mean", "high", "count", "unit")] == [1, 1, 5.5, 10, 10, "percent"]
    assert "p95" not in cpu
    table = kept("metrics", "h1").out.splitlines()
    assert table[0].split() == ["METRIC", "LAST", "AT", "LOWEST", "MEAN", "HIGHEST", "N"]
    assert table[1].startswith("cpu_usage")
    assert kept("metrics", "gone").out.startswith("METRIC")


def test_the_points_of_some_metrics_come_oldest_first(kept):
    points = kept("metrics", "h1", "cpu_usage", "disk_usage:*", "--output", "json").json["points"]
    assert [one["mean"] for one in points if one["metric"] == "cpu_usage"] == [float(n) for n in range(10, 0, -1)]
    assert {one["metric"] for one in points} == {"cpu_usage", "disk_usage:/"}
    days = kept("metrics", "h1", "cpu_usage", "--since", "365d", "--output", "json").json["points"]
    assert sum(one["count"] for one in days) == 10
    assert len(days) in {1, 2}, "so long a time is shown in days"
    steps = kept("metrics", "h1", "cpu_usage", "--since", "365d", "--step", "raw", "--output", "json").json["points"]
    assert len(steps) == 10
    assert "10.0 %" in kept("metrics", "h1", "cpu_usage").out


def test_what_was_not_measured_is_said_and_what_is_misspelt_refused(kept):
    for words in ((), ("disk_usage:*",)):
        quiet = kept("metrics", "h1", *words, "--since", "30s")
        assert (quiet.status, quiet.out) == (0, "")
        assert "nothing was measured since" in quiet.err
    assert "nothing was measured since" in kept("metrics", "h2").err
    for words, said in {
        ("h11",): "there is no host 'h11', here or in the record; did you mean 'h1'?",
        ("h1", "cpu_usag"): "no metric 'cpu_usag' was ever measured of h1; did you mean 'cpu_usage'?",
        ("h1", "disk_usag:*"): "no metric 'disk_usag:*' was ever measured of h1; did you mean 'disk_usage:/'?",
        ("h1", "cpu_usage", "zzz*"): "no metric 'zzz*' was ever measured of h1. `opsqueue metrics h1` lists them",
    }.items():
        found = kept("metrics", *words)
        assert (found.status, found.out) == (10, "")
        assert said in found.err
    assert kept("metrics", "h1", "--since", "2100-01-01").status == 2


def test_without_a_record_there_is_nothing_to_list(empty):
    assert empty("metrics", "h1").status == 12

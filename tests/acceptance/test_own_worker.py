"""A host that runs a worker of its own: it takes its targets from its own queue, and nothing else changes."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import psutil
import pytest
from place import Place, until

pytestmark = pytest.mark.service


@pytest.fixture
def place():
    hosts = {"here": {"connector": "local"}, "far-1": {"connector": "worker"}, "far-2": {"connector": "worker"}}
    quick = {"processes": 1, "reserved": 0, "lease_seconds": 5}
    place = Place(hosts=hosts, schedule={"system-monitoring": False}, worker=quick)
    yield place
    place.end()


def asked(place, *words):
    """Ask how these hosts are, and wait."""
    return place.ops(
        "execute", "--name", "look", "--type", "system_monitoring", "--systems", *words, "--wait", "--output", "json",
        "--retry-count", "0", timeout=120,
    )  # fmt: skip


def seat_of(place):
    """The process that holds the seat of far-1, by the record; None while nobody does."""
    with closing(sqlite3.connect(place.state / "opsqueue.db")) as record:
        row = record.execute("SELECT holder FROM leases WHERE name = 'host.far-1'").fetchone()
    return int(row[0].split()[2]) if row else None


def test_it_works_its_targets_and_says_so(place):
    up = place.start("opsqueue", "up", "--no-flower")
    until(lambda: "opsqueue runs" in place.said(up), what=lambda: place.said(up))
    for name in ("far-1", "far-2"):
        place.start("opsqueue", "worker", "--host", name)
    done = asked(place, "all")
    assert done.code == 0, done.err
    assert {target["host"]: target["status"] for target in done.json["targets"]} == {
        "here": "succeeded", "far-1": "succeeded", "far-2": "succeeded",
    }  # fmt: skip
    assert [stage["stage"] for stage in done.json["stages"]] == [
        "verify", "window", "execute", "collect", "analyze", "notify",
    ]  # fmt: skip


def test_a_second_one_of_the_same_name_is_refused_and_takes_over_when_the_first_is_dead(place):
    up = place.start("opsqueue", "up", "--no-flower")
    until(lambda: "opsqueue runs" in place.said(up), what=lambda: place.said(up))
    first = place.start("opsqueue", "worker", "--host", "far-1")
    until(lambda: seat_of(place) == first.pid, 60, what=lambda: place.said(first))
    done = place.ops("worker", "--host", "far-1")
    assert done.code == 9, done.err
    assert f"process {first.pid} on {os.uname().nodename}, since 20" in done.err
    assert "Looking whether it still lives" in done.err
    assert "End that one if this is far-1" in done.err
    assert first.poll() is None
    first.kill()
    first.wait(10)
    second = place.start("opsqueue", "worker", "--host", "far-1")
    done = asked(place, "far-1")
    assert (done.code, done.json["targets"][0]["status"]) == (0, "succeeded"), place.said(second)
    second.terminate()
    assert second.wait(30) == 0
    assert seat_of(place) is None  # who ends in peace leaves it to the next


def test_one_that_was_stopped_until_another_took_its_place_ends_when_it_wakes(place):
    up = place.start("opsqueue", "up", "--no-flower")
    until(lambda: "opsqueue runs" in place.said(up), what=lambda: place.said(up))
    first = place.start("opsqueue", "worker", "--host", "far-1")
    until(lambda: seat_of(place) == first.pid, 60, what=lambda: place.said(first))
    stopped = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for process in stopped:
        process.suspend()
    second = place.start("opsqueue", "worker", "--host", "far-1")
    until(lambda: seat_of(place) == second.pid, 60, what=lambda: place.said(second))
    for process in stopped:
        process.resume()
    assert first.wait(60) == 9
    assert f"process {second.pid} on" in place.said(first)
    assert asked(place, "far-1").code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--host", "here"), 2, '"connector": "worker"'),
        (("--host", "fra-1"), 10, "did you mean 'far-1'?"),
        (("--host", "far-1", "--name", "x"), 2, "--host goes without"),
    ],
)
def test_a_worker_that_nobody_would_send_anything_to_is_refused(place, words, code, said):
    done = place.ops("worker", *words)
    assert (done.code, said in done.err) == (code, True), done.err

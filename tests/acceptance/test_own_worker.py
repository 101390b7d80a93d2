"""A host that runs a worker of its own: it takes its targets from its own queue, and nothing else changes."""

from __future__ import annotations

import pytest
from place import Place, until

pytestmark = pytest.mark.service


@pytest.fixture
def place():
    hosts = {"here": {"connector": "local"}, "far-1": {"connector": "worker"}, "far-2": {"connector": "worker"}}
    quick = {"processes": 1, "reserved": 0, "lease_seconds": 2}
    place = Place(hosts=hosts, schedule={"system-monitoring": False}, worker=quick)
    yield place
    place.end()


def asked(place, *words):
    """Ask how these hosts are, and wait."""
    return place.ops(
        "execute", "--name", "look", "--type", "system_monitoring", "--systems", *words, "--wait", "--output", "json",
        "--retry-count", "0", timeout=120,
    )  # fmt: skip


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

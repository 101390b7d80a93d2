"""An inventory of several places, with the real command and running workers: selectors, changes, history by group."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from place import Place, until

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("inventory")]

LOCAL = {"ansible_connection": "local"}


@pytest.fixture(scope="module")
def town():
    """A system that runs, whose hosts a file and a program of the Ansible kind tell."""
    place = Place()
    place.settings |= {
        "inventory": [str(place.directory / "file.json"), str(place.directory / "program")],
        "groups": {"front": ["web", "here"]},
        "hosts": {"here": {"connector": "local"}},
    }
    place.config.write_text(json.dumps(place.settings))
    write(place, "db-1", "db-2")
    listed = {
        "_meta": {"hostvars": {name: {**LOCAL, "opsqueue_tags": ["eu"]} for name in ("web-1", "web-2")}},
        "web": {"hosts": ["web-1", "web-2"]},
    }
    program = place.directory / "program"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(listed)}'\n")
    program.chmod(0o755)
    place.start("opsqueue", "up", "--no-flower")
    until(lambda: "opsqueue runs" in place.said(place.started[0]) or place.ops("status").code == 0, what="the system")
    yield place
    place.end()


def write(place: Place, *names: str) -> Path:
    path = place.directory / "file.json"
    path.write_text(
        json.dumps({"hosts": {name: {"connector": "local"} for name in names}, "groups": {"db": list(names)}})
    )
    return path


def looked(place: Place, *systems: str) -> list[str]:
    """The hosts on which a looking operation was run to its end."""
    words = ("--name", "look", "--type", "system_monitoring", "--wait", "--wait-timeout", "60", "--output", "json")
    done = place.ops("execute", *words, "--systems", *systems)
    assert done.code == 0, done.err
    return [target["host"] for target in done.json["targets"]]


@pytest.mark.parametrize(
    ("systems", "hosts"),
    [
        (["tag:eu", "!web-2"], ["web-1"]),
        (["front"], ["here", "web-1", "web-2"]),
        (["db-*", "here"], ["here", "db-1", "db-2"]),
        (["not:front"], ["db-1", "db-2"]),
    ],
)
def test_an_operation_is_run_on_what_selectors_stand_for(town, systems, hosts):
    assert looked(town, *systems) == hosts


def test_a_word_that_nobody_knows_is_refused(town):
    done = town.ops("execute", "--name", "n", "--type", "system_monitoring", "--systems", "all", "!wbe-1")
    assert done.code == 10
    assert "'wbe-1'; did you mean 'web-1'?" in done.err


def test_history_of_a_group_is_that_of_its_hosts(town):
    (host,) = looked(town, "web-2")
    for word in ("web", "front", "eu", host):
        found = town.ops("history", "--system", word, "--output", "json").json["operations"]
        assert any(one["systems"] == ["web-2"] for one in found), word
    found = town.ops("history", "--system", "db", "--output", "json").json["operations"]
    assert not any(one["systems"] == ["web-2"] for one in found)


def test_running_workers_know_what_was_added_and_what_a_file_says_now(town):
    assert town.ops("hosts", "add", "new", "--connector", "local", "--group", "web").code == 0
    assert looked(town, "web", "!tag:eu") == ["new"]
    write(town, "db-1", "db-3")
    assert looked(town, "db") == ["db-1", "db-3"]


def test_a_file_that_is_spoilt_meanwhile_is_said_and_the_last_good_one_counts(town):
    path = write(town, "db-1")
    path.write_text("{")
    done = town.ops("execute", "--name", "n", "--type", "system_monitoring", "--systems", "db-1", "--no-wait")
    assert done.code == 2
    assert "file.json is not JSON" in done.err
    # Asked by a client with another configuration: only the workers read the spoilt file.
    alone = town.directory / "client.json"
    alone.write_text(json.dumps({"state_dir": str(town.state), "hosts": {"db-1": {"connector": "local"}}}))
    words = ("--name", "n", "--type", "system_monitoring", "--systems", "db-1", "--wait", "--output", "json")
    done = town.ops("execute", *words, OPSQUEUE_CONFIG=str(alone))
    assert done.json["outcome"] == "succeeded"
    until(lambda: "the last good one counts" in town.log(), what="the line in the log")
    write(town, "db-1", "db-5")
    assert looked(town, "db-5") == ["db-5"]

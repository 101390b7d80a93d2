"""Hosts whose names are another machine's by the time that something is to be done there."""

from __future__ import annotations

import pytest

from opsqueue.model.host import Host
from opsqueue.model.names import Stage


@pytest.fixture(autouse=True)
def another_host(story):
    story.machines["h2"] = type(story.machines["h1"])()


def until(story, operation_id, stage):
    while story.raw(operation_id).stage is not stage:
        story.step(operation_id)


def states(shown):
    return {target["host"]: target["status"] for target in shown["targets"]}


def over_ssh(story, **addresses):
    """Hosts of the story as the inventory has them by SSH; the machines behind the names stay what they are."""
    story._host = lambda name: Host(name=name, connector="ssh", address=addresses.get(name, f"{name}.example.com"))


def test_a_name_that_was_given_to_another_machine_is_verified_anew(story):
    over_ssh(story)
    asked = story.ask(systems=("h1", "h2"), rollout={"batch": 2})
    until(story, asked, Stage.EXECUTE)
    over_ssh(story, h1="10.0.0.9")
    shown = story.drive(asked)
    assert shown["outcome"] == "succeeded"
    assert story.results(asked).count(("verify", "passed")) == 2
    assert ("execute", "replanned") in story.results(asked)
    why_not = next(one["why"] for one in shown["stages"] if one["result"] == "replanned")
    assert "h1 was ssh h1.example.com:22 when its plan was verified, and is ssh 10.0.0.9:22 now" in why_not


def test_after_a_crash_nothing_is_led_back_on_another_machine(story):
    over_ssh(story)
    machine = story.machines["h1"]
    another = type(machine)(value=7)

    def given_to_another():
        over_ssh(story, h1="10.0.0.9")
        story.machines["h1"] = another

    machine.during["set 1"] = given_to_another
    machine.crash_after = "set 1"
    asked = story.ask(parameters={"to": 2, "steps": 2})
    shown = story.drive(asked)
    assert (another.tally, another.value) == ([], 7)
    assert (shown["outcome"], states(shown)) == ("unknown", {"h1": "unknown"})
    assert "it is not known how the one of before stands" in shown["targets"][0]["problems"][-1]

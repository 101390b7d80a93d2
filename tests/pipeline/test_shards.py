"""Targets that other workers take: the many of a large operation, and hosts that have a worker of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opsqueue.model.names import Stage
from opsqueue.pipeline.control import cancel
from opsqueue.pipeline.shard import run_shard
from opsqueue.store import events

SIX = ("h1", "h2", "h3", "h4", "h5", "h6")
STAGES = ["verify", "window", "execute", "collect", "analyze", "notify"]


@pytest.fixture(autouse=True)
def six_hosts(story):
    machine = type(story.machines["h1"])
    story.machines.update({name: machine() for name in SIX})


def states(shown):
    return {target["host"]: target["status"] for target in shown["targets"]}


def lines(story, operation_id, kind):
    with story.store.read() as connection:
        return [line for line in events.of(connection, operation_id) if line.kind == kind]


def in_twos(story):
    story.settings |= {"worker": {"shard_size": 2}}


def at_execute(story, operation_id):
    while story.raw(operation_id).stage is not Stage.EXECUTE:
        story.step(operation_id)


def test_a_large_looking_operation_is_divided_and_each_host_is_asked_once(story):
    in_twos(story)
    operation_id = story.ask("look_value", systems=SIX)
    at_execute(story, operation_id)
    story.step(operation_id)
    assert [(number, queue) for _, number, queue in story.shards] == [(0, "normal"), (1, "normal"), (2, "normal")]
    shown = story.drive(operation_id)
    assert (shown["outcome"], states(shown)) == ("succeeded", dict.fromkeys(SIX, "succeeded"))
    assert [story.machines[name].asked for name in SIX] == [1] * 6
    assert [stage["stage"] for stage in shown["stages"]] == STAGES
    assert lines(story, operation_id, "shared")[0].message == "6 hosts in 3 shards"


def test_the_last_shard_wakes_the_operation_at_once(story):
    in_twos(story)
    operation_id = story.ask("look_value", systems=SIX[:3])
    at_execute(story, operation_id)
    story.step(operation_id)
    first, second = story.shards
    assert story.raw(operation_id).due_at == story.clock.at + 30
    assert story.show(operation_id)["status"] == "executing"
    run_shard(story.world("other"), *first[:2])
    assert story.raw(operation_id).due_at == story.clock.at + 30
    story.nudges.clear()
    run_shard(story.world("other"), *second[:2])
    assert story.raw(operation_id).due_at == story.clock.at
    assert story.nudges == [(operation_id, Stage.EXECUTE)]


def test_a_doubled_message_for_a_shard_does_nothing(story):
    in_twos(story)
    operation_id = story.ask("look_value", systems=SIX)
    at_execute(story, operation_id)
    story.step(operation_id)
    story.shards *= 3
    story.drive(operation_id)
    assert [story.machines[name].asked for name in SIX] == [1] * 6


def test_a_shard_whose_worker_died_is_taken_by_another(story):
    in_twos(story)
    story.machines["h3"].while_asked[1] = story.crash
    operation_id = story.ask("look_value", systems=SIX)
    began = story.clock.at
    shown = story.drive(operation_id)
    assert (shown["outcome"], states(shown)) == ("succeeded", dict.fromkeys(SIX, "succeeded"))
    assert story.clock.at - began <= 60
    assert [story.machines[name].asked for name in ("h1", "h2", "h5", "h6")] == [1] * 4


def test_a_message_for_a_shard_that_is_lost_is_sent_again(story):
    in_twos(story)
    operation_id = story.ask("look_value", systems=SIX)
    at_execute(story, operation_id)
    story.step(operation_id)
    story.shards.clear()
    assert story.drive(operation_id)["outcome"] == "succeeded"


def test_a_shard_over_which_every_worker_dies_is_given_up(story):
    in_twos(story)
    story.machines["h3"].while_asked = dict.fromkeys(range(1, 99), story.crash)
    shown = story.drive(story.ask("look_value", systems=SIX, retry_count=0), steps=99)
    assert (shown["outcome"], shown["stage"]) == ("partial", "closed")
    assert states(shown)["h1"] == "succeeded"
    assert states(shown)["h3"] == "unreachable"
    assert "9 workers died over it" in next(t for t in shown["targets"] if t["host"] == "h3")["problems"][0]


def test_the_unreachable_of_all_shards_are_tried_again_together(story):
    in_twos(story)
    story.machines["h1"].reachable = story.machines["h6"].reachable = False
    operation_id = story.ask("look_value", systems=SIX, retry_count=1)
    at_execute(story, operation_id)
    for _ in range(2):
        story.step(operation_id)
        story.work_shards()
    assert story.results(operation_id)[-1] == ("execute", "retrying")
    story.machines["h6"].reachable = True
    shown = story.drive(operation_id)
    assert [name for name, state in states(shown).items() if state != "succeeded"] == ["h1"]
    assert [story.machines[name].asked for name in SIX] == [0, 1, 1, 1, 1, 1]
    assert shown["outcome"] == "partial"


def test_a_cancelled_operation_waits_for_its_shards_and_asks_no_more_hosts(story):
    in_twos(story)
    operation_id = story.ask("look_value", systems=SIX)
    at_execute(story, operation_id)
    story.step(operation_id)
    run_shard(story.world("other"), *story.shards.pop(0)[:2])
    cancel(story.world(), operation_id, actor="ann", reason="enough")
    shown = story.drive(operation_id)
    assert (shown["outcome"], shown["stage"]) == ("partial", "closed")
    assert [story.machines[name].asked for name in SIX] == [1, 1, 0, 0, 0, 0]


@pytest.fixture
def own(story):
    """h2 and h4 run workers of their own."""
    story.own_workers = {"h2", "h4"}
    return story


def test_a_host_with_its_own_worker_takes_its_targets_from_its_own_queue(own):
    operation_id = own.ask(systems=SIX[:4], rollout={"batch": 2})
    own.step(operation_id)
    assert [queue for *_, queue in own.shards] == ["host.h2", "host.h4"]
    shown = own.drive(operation_id)
    assert (shown["outcome"], states(shown)) == ("succeeded", dict.fromkeys(SIX[:4], "succeeded"))
    assert [own.machines[name].tally for name in SIX[:4]] == [["set 1"]] * 4
    assert [stage["stage"] for stage in shown["stages"]] == STAGES


def test_a_late_message_takes_no_shard_that_is_meant_for_another_worker(own):
    """Numbers are given anew at each stage: the one in the message may be another host's by now."""
    in_twos(own)
    operation_id = own.ask("look_value", systems=SIX)
    at_execute(own, operation_id)
    own.step(operation_id)
    queues = {number: queue for _, number, queue in own.shards}
    assert queues == {0: "host.h2", 1: "host.h4", 2: "normal", 3: "normal"}
    for worker, number in (("host.h4", 0), ("host.h2", 2), ("host.h", 0), ("shared", 1)):
        run_shard(own.world(worker), operation_id, number)
    assert [own.machines[name].asked for name in SIX] == [0] * 6
    assert states(own.drive(operation_id)) == dict.fromkeys(SIX, "succeeded")
    assert [own.machines[name].asked for name in SIX] == [1] * 6


def test_of_two_workers_of_one_name_only_the_one_that_has_the_seat_takes_its_targets(own):
    operation_id = own.ask(systems=["h2"])
    this, other = (replace(own.world("host.h2"), seat=f"{name} 1 1 machine-{name}") for name in "ab")
    own.step(operation_id)
    run_shard(this, operation_id, 0)
    at_execute(own, operation_id)
    own.step(operation_id)
    run_shard(other, operation_id, 0)
    assert own.machines["h2"].tally == []
    run_shard(this, operation_id, 0)
    assert own.machines["h2"].tally == ["set 1"]
    assert own.drive(operation_id)["outcome"] == "succeeded"


def test_when_the_one_that_had_the_seat_is_dead_the_next_one_takes_its_targets(own):
    operation_id = own.ask(systems=["h2"])
    this, other = (replace(own.world("host.h2"), seat=f"{name} 1 1 machine-{name}") for name in "ab")
    own.step(operation_id)
    run_shard(this, operation_id, 0)
    at_execute(own, operation_id)
    own.step(operation_id)
    own.clock.at += other.settings.worker.lease_seconds
    run_shard(other, operation_id, 0)
    assert own.machines["h2"].tally == ["set 1"]


def test_looking_asks_it_there_too(own):
    shown = own.drive(own.ask("look_value", systems=SIX[:4]))
    assert (shown["outcome"], states(shown)) == ("succeeded", dict.fromkeys(SIX[:4], "succeeded"))
    assert [own.machines[name].asked for name in SIX[:4]] == [1] * 4


def test_without_its_worker_a_host_is_unreachable_and_says_what_is_missing(own):
    own.away = {"host.h2"}
    shown = own.drive(own.ask("look_value", systems=SIX[:3], retry_count=0))
    assert states(shown) == {"h1": "succeeded", "h2": "unreachable", "h3": "succeeded"}
    assert "start `opsqueue worker --host h2` there" in shown["targets"][1]["problems"][0]


def test_a_change_waits_for_its_worker_and_ends_without_it(own):
    own.away = {"host.h2"}
    shown = own.drive(own.ask(systems=SIX[:3], retry_count=1))
    assert states(shown) == {"h1": "succeeded", "h2": "unreachable", "h3": "succeeded"}
    assert own.machines["h2"].tally == []


@pytest.mark.parametrize("fault", ["crash_before", "crash_after"])
def test_its_worker_may_die_between_any_two_commands(own, fault):
    setattr(own.machines["h2"], fault, "set 2")
    shown = own.drive(own.ask(systems=("h2",), parameters={"to": 3, "steps": 3}))
    assert own.machines["h2"].tally == (
        ["set 1", "back 0"] if fault == "crash_before" else ["set 1", "set 2", "back 0"]
    )
    assert shown["outcome"] == "rolled_back"


def test_what_goes_wrong_there_is_tried_again_and_stops_the_rest(own):
    own.machines["h2"].wrong = True
    shown = own.drive(own.ask(systems=SIX[:4], retry_count=1))
    assert states(shown) == {"h1": "succeeded", "h2": "rolled_back", "h3": "skipped", "h4": "skipped"}
    assert own.machines["h2"].tally == ["set 1", "back 0"] * 2
    assert shown["outcome"] == "partial"


def test_what_stands_against_it_there_fails_the_operation_before_anything_is_sent(own):
    own.machines["h2"].value = 13
    shown = own.drive(own.ask(systems=SIX[:3]))
    assert (shown["outcome"], states(shown)["h2"]) == ("failed", "failed")
    assert "h2: the value is cursed" in shown["stages"][0]["why"]
    assert all(not own.machines[name].tally for name in SIX)


def test_a_host_that_changed_there_since_its_plan_is_planned_anew(own):
    operation_id = own.ask(systems=("h1", "h2"), parameters={"to": 5})
    own.machines["h1"].during["set 5"] = lambda: setattr(own.machines["h2"], "value", 5)
    shown = own.drive(operation_id)
    assert ("execute", "replanned") in own.results(operation_id)
    assert states(shown) == {"h1": "succeeded", "h2": "unchanged"}


def test_a_worker_that_dies_at_any_write_of_a_shard_leaves_nothing_undone_or_doubled(own):
    def die(at):
        for name in SIX:
            own.machines[name].value, own.machines[name].tally = 0, []
        operation_id = own.ask(systems=("h1", "h2", "h3"), parameters={"to": 2, "steps": 2}, rollout={"batch": 3})
        record = own.dying(at)
        shown = own.drive(operation_id)
        own.store = record.store
        assert shown["stage"] == "closed", states(shown)
        for name in ("h1", "h2", "h3"):
            own.check(operation_id, name)
        return record.writes >= at

    assert len([at for at in range(1, 60) if die(at)]) > 15

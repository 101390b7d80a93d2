"""A worker may die anywhere: the record finds the work again, looks, and never sends a command twice."""

from __future__ import annotations

import threading
import time

import pytest

from opsqueue.model.names import WORKED
from opsqueue.store import holds

SIX = [stage.value for stage in WORKED]


@pytest.mark.parametrize("stage", SIX)
def test_dying_in_a_stage_after_its_lease_was_taken(story, stage):
    operation_id = story.ask()
    while story.raw(operation_id).stage != stage:
        story.step(operation_id)
    story.dying(1, kept=True)
    shown = story.drive(operation_id)
    story.check(operation_id)
    assert shown["outcome"] == "succeeded"


@pytest.mark.parametrize("fault", ["crash_before", "crash_after"])
@pytest.mark.parametrize(
    ("word", "after", "before"),
    [
        ("set 1", "rolled_back", "failed"),
        ("set 2", "rolled_back", "rolled_back"),
        ("set 3", "succeeded", "rolled_back"),
    ],
)
def test_dying_between_any_two_commands(story, fault, word, after, before):
    machine = story.machines["h1"]
    setattr(machine, fault, word)
    operation_id = story.ask(parameters={"to": 3, "steps": 3})
    shown = story.drive(operation_id)
    story.check(operation_id)
    assert shown["outcome"] == (after if fault == "crash_after" else before)
    assert machine.value == (3 if shown["outcome"] == "succeeded" else 0)
    assert shown["stage"] == "closed"


def test_a_command_that_could_not_be_sent_in_time_is_announced_anew_and_sent_once(story):
    machine = story.machines["h1"]
    machine.too_late = [lambda: None] * 3
    shown = story.drive(story.ask())
    assert (shown["outcome"], machine.tally, machine.value) == ("succeeded", ["set 1"], 1)
    assert [step["command"] for step in shown["targets"][0]["steps"]] == ["set 1"]
    assert machine.allowed[0] <= story.world().settings.worker.lease_seconds / 2  # the lease is certainly ours so long


def test_a_command_that_could_not_be_sent_in_time_is_not_when_others_have_closed_the_operation(story):
    """Its worker was stopped after it wrote down what it was about to send, for longer than its lease."""
    machine, operation_id = story.machines["h1"], story.ask()

    def others():
        assert story.show(operation_id)["targets"][0]["status"] == "applying"
        story.clock.at += story.world().settings.worker.lease_seconds + 1
        assert story.drive(operation_id)["stage"] == "closed"

    machine.too_late = [others]
    shown = story.drive(operation_id)
    assert (shown["outcome"], machine.tally, machine.value) == ("failed", [], 0)
    story.check(operation_id)


def test_a_command_that_can_never_be_sent_in_time_is_given_up(story):
    machine = story.machines["h1"]
    machine.too_late = [lambda: None] * 6
    shown = story.drive(story.ask(retry_count=0))
    assert (shown["outcome"], machine.tally, machine.too_late) == ("failed", [], [])
    assert "it was to be sent earlier" in shown["targets"][0]["problems"][0]


def test_what_was_found_after_a_crash_is_never_applied_again(story):
    machine = story.machines["h1"]
    machine.crash_after = "set 1"
    shown = story.drive(story.ask(parameters={"to": 2, "steps": 2}, retry_count=5))
    assert machine.tally == ["set 1", "back 0"]
    assert shown["outcome"] == "rolled_back"


def test_found_done_it_has_succeeded(story):
    story.machines["h1"].crash_after = "set 1"
    shown = story.drive(story.ask())
    assert (shown["outcome"], shown["targets"][0]["changed"]) == ("succeeded", True)
    assert story.machines["h1"].tally == ["set 1"]


def test_found_wrong_with_rollback_off_it_has_failed(story):
    story.machines["h1"].crash_after = "set 1"
    shown = story.drive(story.ask(parameters={"to": 2, "steps": 2}, rollback_enabled=False))
    assert (shown["outcome"], story.machines["h1"].tally) == ("failed", ["set 1"])


@pytest.mark.parametrize(("fault", "outcome"), [("crash_before", "unknown"), ("crash_after", "rolled_back")])
def test_found_rolling_back_it_is_looked_at_and_not_rolled_back_again(story, fault, outcome):
    machine = story.machines["h1"]
    machine.breaks = {"set 2"}
    setattr(machine, fault, "back 0")
    operation_id = story.ask(parameters={"to": 2, "steps": 2}, retry_count=0)
    shown = story.drive(operation_id)
    story.check(operation_id)
    assert shown["outcome"] == outcome
    assert machine.tally == ["set 1", "set 2"] + (["back 0"] if fault == "crash_after" else [])


def test_a_command_that_still_runs_is_waited_for(story):
    machine = story.machines["h1"]
    machine.crash_after = "set 1"
    machine.running = {"set 1"}
    operation_id = story.ask()
    for _ in range(4):
        story.step(operation_id) if not machine.crash_after else story.drive(operation_id, steps=4)
    looked = [result for stage, result in story.results(operation_id) if stage == "execute"]
    assert looked
    assert set(looked) == {"looking"}
    machine.running = set()
    assert story.drive(operation_id)["outcome"] == "succeeded"
    assert machine.tally == ["set 1"]


def test_a_host_that_is_away_when_it_should_be_looked_at_is_unknown_and_keeps_it_open(story):
    machine = story.machines["h1"]
    machine.during["set 1"] = lambda: setattr(machine, "reachable", False)
    operation_id = story.ask()
    shown = story.drive(operation_id)
    assert (shown["outcome"], shown["targets"][0]["status"], shown["stage"]) == ("unknown", "unknown", "notify")
    assert "a person must look" in shown["verdicts"][-1]["why"]
    assert machine.tally == ["set 1"]
    assert shown["findings"][0]["code"] == "outcome_unknown"


def test_a_host_that_comes_back_in_time_is_looked_at(story):
    machine = story.machines["h1"]
    machine.during["set 1"] = lambda: setattr(machine, "reachable", False)
    operation_id = story.ask()
    for _ in range(3):
        story.step(operation_id)
    assert story.results(operation_id)[-1] == ("execute", "retrying")
    machine.reachable = True
    assert story.drive(operation_id)["outcome"] == "succeeded"
    assert machine.tally == ["set 1"]


def test_a_stage_that_always_kills_its_worker_is_given_up_and_people_are_told(story):
    machine = story.machines["h1"]
    operation_id = story.ask()
    story.step(operation_id)
    story.step(operation_id)
    for _ in range(12):
        machine.crash_before = "set 1"
        machine.value = 0
        with story.store.begin() as tx:  # whatever it finds, the next one dies as well
            tx.exec_driver_sql("UPDATE targets SET state = 'pending'")
        shown = story.drive(operation_id, steps=1)
        if shown["outcome"]:
            break
    shown = story.drive(operation_id)
    assert shown["outcome"] == "unknown"
    assert [stage["stage"] for stage in shown["stages"]][-3:] == ["collect", "analyze", "notify"]
    assert story.told


@pytest.mark.parametrize("stage", ["verify", "collect", "analyze"])
def test_our_own_fault_is_tried_again_then_given_up_with_nothing_left_held(story, stage, monkeypatch):
    from opsqueue.model.names import Stage  # noqa: PLC0415  # beside its only use
    from opsqueue.pipeline import advance as module  # noqa: PLC0415

    def broken(world, operation, known):
        raise ValueError("a fault of ours")

    monkeypatch.setitem(module._STAGES, Stage(stage), broken)
    operation_id = story.ask(retry_count=0)
    shown = story.drive(operation_id)
    results = [result for name, result in story.results(operation_id) if name == stage]
    assert results == ["retrying"] * 8 + ["failed"]
    (why,) = [one["why"] for one in shown["stages"] if (one["stage"], one["result"]) == (stage, "failed")]
    assert why == f"the stage {stage} was tried 9 times in vain; at last: ValueError: a fault of ours"
    assert shown["outcome"] == ("failed" if stage == "verify" else "succeeded")
    assert [name for name, _ in story.results(operation_id)][-1] == "notify"
    assert story.told
    with story.store.read() as connection:
        assert not holds.running(connection, "nobody")
        assert not holds.lock_holders(connection, ["h1"], "nobody")


MANY = 40
"""More writes than one operation makes."""


@pytest.mark.parametrize(
    "go_on", [True, pytest.param(False, marks=pytest.mark.long)], ids=["one process", "six messages"]
)
@pytest.mark.parametrize("type_", ["set_value", "look_value"])
def test_a_power_cut_at_any_write_sends_nothing_twice(story, type_, go_on):
    def cut(at):
        story.machines["h1"].value, story.machines["h1"].tally = 0, []
        operation_id = story.ask(type=type_, parameters={"to": 2, "steps": 2}, notification_channels=["mail"])
        record, told = story.forgetting(at), len(story.told)
        shown = story.drive(operation_id, go_on=go_on)
        story.store = record.store
        assert shown["stage"] == "closed"
        story.check(operation_id)
        assert len(story.told) - told <= 2  # by the try before the cut, whose receipt was lost, and once more
        return record.writes >= at

    story.settings["notification_channels"] = {"mail": "a@example.org"}
    tried = [at for at in range(1, MANY) if cut(at)]
    assert len(tried) > 6


@pytest.mark.parametrize("steps", [1, *(pytest.param(steps, marks=pytest.mark.long) for steps in (2, 3)), MANY])
@pytest.mark.parametrize("type_", ["set_value", pytest.param("look_value", marks=pytest.mark.long)])
def test_a_crash_of_the_database_alone_lets_no_two_workers_send(story, type_, steps):
    def crash(at):
        machine = story.machines["h1"]
        machine.value, machine.tally = 0, []
        operation_id = story.ask(type=type_, parameters={"to": 2, "steps": 2})

        def another_worker():
            story.drive(operation_id, steps=steps, go_on=steps == 1)

        record = story.forgetting(at, another_worker)
        shown = story.drive(operation_id, go_on=True)
        story.store = record.store
        assert shown["stage"] == "closed"
        story.check(operation_id)
        return record.writes >= at

    tried = [at for at in range(1, MANY) if crash(at)]
    assert len(tried) > 6


def test_a_crash_of_the_database_alone_lets_no_two_workers_send_at_once(story):
    machine = story.machines["h1"]

    def crash(at):
        machine.value, machine.tally = 0, []
        operation_id = story.ask(parameters={"to": 2, "steps": 2})
        there, go_on = threading.Event(), threading.Event()
        machine.during = {"set 1": lambda: (go_on.set(), other.is_alive() and time.sleep(0.05))}
        other = threading.Thread(target=lambda: story.drive(operation_id, steps=1, go_on=True))

        def another_worker_is_about_to_send():
            machine.while_asked = {machine.asked + 2: lambda: (there.set(), go_on.wait(0.5))}
            other.start()
            there.wait(0.2)

        record = story.forgetting(at, another_worker_is_about_to_send)
        story.step(operation_id, go_on=True)
        go_on.set()
        if record.writes >= at:
            other.join()
        story.drive(operation_id)
        story.store = record.store
        story.check(operation_id)
        return record.writes >= at

    tried = [at for at in range(1, MANY) if crash(at)]
    assert len(tried) > 6

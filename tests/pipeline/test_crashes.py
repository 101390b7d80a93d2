"""A worker may die anywhere: the record finds the work again, looks, and never sends a command twice."""

from __future__ import annotations

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

    def broken(world, operation):
        raise ValueError("a fault of ours")

    monkeypatch.setitem(module._STAGES, Stage(stage), broken)
    operation_id = story.ask(retry_count=0)
    shown = story.drive(operation_id)
    results = [result for name, result in story.results(operation_id) if name == stage]
    assert results == ["retrying"] * 9 + ["failed"]
    assert shown["outcome"] == ("failed" if stage == "verify" else "succeeded")
    assert [name for name, _ in story.results(operation_id)][-1] == "notify"
    assert story.told
    with story.store.read() as connection:
        assert not holds.running(connection, "nobody")
        assert not holds.lock_holders(connection, ["h1"], "nobody")

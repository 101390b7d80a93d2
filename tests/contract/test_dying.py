"""A worker dies at each of its writes in turn, on each database: the rest is told to its end, and is sane."""

from __future__ import annotations

from itertools import count

import pytest


def dies_at_each_write(story, kept, prepare=lambda machine: None, ask=None, **more):
    """Tell the story once for each write at which its worker can die; yields the stories' ends."""
    record = story.store
    for number in count(1):
        machine = story.machines["h1"]
        machine.value, machine.tally, machine.breaks, machine.wrong = 0, [], set(), False
        prepare(machine)
        story.store = record
        operation_id = story.ask(parameters={"to": 2, "steps": 2}, **(ask or {}))
        dying = story.dying(number, kept=kept)
        shown = story.drive(operation_id, **more)
        story.check(operation_id)
        yield shown
        if dying.writes < number:
            return


@pytest.mark.parametrize("kept", [False, True])
def test_dying_at_any_write_of_a_good_change(story, kept):
    ends = [shown["outcome"] for shown in dies_at_each_write(story, kept)]
    assert len(ends) > 16
    assert ends[-1] == "succeeded"
    assert set(ends) <= {"succeeded", "failed", "rolled_back"}


@pytest.mark.parametrize("kept", [False, True])
def test_dying_at_any_write_of_a_change_that_is_rolled_back(story, kept):
    def second_breaks(machine):
        machine.breaks = {"set 2"}

    ends = dies_at_each_write(story, kept, second_breaks, {"retry_count": 0})
    outcomes = [shown["outcome"] for shown in ends]
    assert len(outcomes) > 18
    assert outcomes[-1] == "rolled_back"
    assert set(outcomes) <= {"rolled_back", "failed", "unknown"}

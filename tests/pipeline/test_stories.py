"""The promises of the kernel, each told as a story that ends with the history."""

from __future__ import annotations

SIX = ["verify", "window", "execute", "collect", "analyze", "notify"]


def test_a_change_goes_through_six_stages_and_closes(story):
    shown = story.drive(story.ask())
    assert [stage["stage"] for stage in shown["stages"]] == SIX
    assert (shown["status"], shown["outcome"]) == ("succeeded", "succeeded")
    assert story.machines["h1"].tally == ["set 1"]
    assert [note["status"] for note in shown["notifications"]] == ["accepted"]


def test_a_look_goes_through_six_stages_and_sends_nothing(story):
    shown = story.drive(story.ask("look_value"))
    assert [stage["stage"] for stage in shown["stages"]] == SIX
    assert shown["metrics"] == {"h1": {"value": {"value": 0, "unit": "count"}}}
    assert shown["health_score"] == 80
    assert story.machines["h1"].tally == []


def test_nothing_to_do_is_said(story):
    story.machines["h1"].value = 1
    shown = story.drive(story.ask())
    assert shown["outcome"] == "unchanged"
    assert story.machines["h1"].tally == []

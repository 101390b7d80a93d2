"""What the analysis of a type is shown of a host's past: its series, and the findings of before."""

from __future__ import annotations

from sqlalchemy import event

from opsqueue.model.alert import Kind, Transition
from opsqueue.model.names import Severity
from opsqueue.model.sample import SeriesWanted
from opsqueue.store import alerts, rollups


def _shown(story, **request):
    (finding,) = story.drive(story.ask("look_back", **request))["findings"]
    return finding["evidence"]


def test_the_series_that_a_type_wants_hold_what_was_just_measured_too(story):
    story.clock.at = 1_800_000_000.0 // 3600 * 3600
    story.machines["h1"].value = 4
    assert _shown(story)["points"] == [[4, 4, 4, 1]]
    story.clock.at += 60
    story.machines["h1"].value = 8
    assert _shown(story)["points"] == [[4, 6, 8, 2]]
    story.clock.at += 3600
    assert _shown(story)["points"] == [[4, 6, 8, 2], [8, 8, 8, 1]]
    story.clock.at += 90_000
    assert _shown(story)["points"] == [[8, 8, 8, 1]]


def test_findings_of_before_are_those_of_the_same_parameters_and_host(story):
    assert _shown(story)["before"] is None
    story.clock.at += 1
    assert _shown(story)["before"] == ["shown"]
    story.clock.at += 1
    assert _shown(story, parameters={"steps": 2})["before"] is None
    story.clock.at += 1
    assert _shown(story)["before"] == ["shown"]


def test_what_was_done_to_a_host_and_what_fired_for_it_is_told_of_the_time_that_is_asked_for(story):
    def fired(kind, incident):
        return Transition(
            at=story.clock.at, kind=kind, incident=incident, fingerprint=incident, rule="ValueHigh", host="h1",
            severity=Severity.CRITICAL,
        )  # fmt: skip

    story.drive(story.ask("set_value"))  # long before
    story.clock.at += 4000
    story.drive(story.ask("set_value", parameters={"to": 2}))
    story.drive(story.ask("set_value", parameters={"to": 2}))  # nothing to do
    story.drive(story.ask("look_value", systems=["h1", "h2"]))
    with story.store.begin() as tx:
        alerts.append(tx, [fired(Kind.FIRING, "i1"), fired(Kind.RESOLVED, "i1"), fired(Kind.FIRING, "i2")])
    story.clock.at += 10
    assert _shown(story)["occasions"] == {"changes": {"set_value": 1}, "alerts": {"ValueHigh": 2}}
    assert _shown(story, systems=["h2"])["occasions"] == {"changes": {}, "alerts": {}}


def test_how_many_hosts_share_the_row_is_told(story):
    assert _shown(story)["hosts"] == 1
    found = story.drive(story.ask("look_back", systems=["h1", "h2"]))["findings"]
    assert [one["evidence"]["hosts"] for one in found] == [2, 2]


def test_many_operations_with_other_parameters_hide_none_with_the_same(story):
    _shown(story)
    for _ in range(12):
        story.clock.at += 1
        _shown(story, parameters={"steps": 2})
    story.clock.at += 1
    assert _shown(story)["before"] == ["shown"]


def test_findings_of_before_are_read_once_for_all_hosts(story):
    asked = {"systems": ["h1", "h2"]}
    story.drive(story.ask("look_back", **asked))
    story.clock.at += 1
    said = []
    event.listen(story.store.engine, "before_cursor_execute", lambda *given: said.append(" ".join(given[2].split())))
    ended = story.drive(story.ask("look_back", **asked))
    assert [one["evidence"]["before"] for one in ended["findings"]] == [["shown"], ["shown"]]
    assert sum(one.startswith("SELECT operations.findings FROM") for one in said) == 1


def test_an_operation_that_was_not_carried_out_found_nothing_to_compare_with(story):
    story.machines["h1"].reachable = False
    story.drive(story.ask("look_back", retry_count=0))
    story.machines["h1"].reachable = True
    story.clock.at += 1
    assert _shown(story)["before"] is None


def test_numbers_of_the_analysis_stand_beside_those_that_were_measured(story):
    story.machines["h1"].value = 4
    story.drive(story.ask("look_back"))
    story.clock.at += 1
    ended = story.drive(story.ask("look_back"))
    numbers = {"value": {"value": 4, "unit": "count"}, "looks": {"value": 2.0, "unit": "count"}}
    assert ended["metrics"]["h1"] == numbers
    wanted = SeriesWanted(name="x", metrics=("value", "looks"), ago=60)
    with story.store.read() as connection:
        points = rollups.read(connection, "h1", wanted, story.clock.at)
    assert {name: [one.mean for one in line] for name, line in points.items()} == {"value": [4, 4], "looks": [1, 2]}

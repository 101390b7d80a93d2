"""Alerts that an Alertmanager decided: what is told, what is no news, and what one bad alert does to the others."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module

import pytest
from sqlalchemy import select

from opsqueue.errors import InvalidRequest
from opsqueue.model.alert import Alert, Group
from opsqueue.pipeline import alert_intake
from opsqueue.pipeline.alert_tick import look, tick
from opsqueue.store import alerts, schema

LABELS = {"alertname": "DiskFull", "instance": "db1:9100", "severity": "critical"}
GIVEN = {"built_in": False}


class Room:
    """Webhooks over the record of a story."""

    def __init__(self, story):
        self.story = story
        self.world = story.world(alerts=GIVEN)
        self.began = story.clock.at - 7200

    def iso(self, at):
        return datetime.fromtimestamp(at, UTC).isoformat()

    def one(self, status="firing", starts=0.0, ends=None, **more):
        """An alert; times are seconds after the story's first beginning."""
        end = "0001-01-01T00:00:00Z" if ends is None else self.iso(self.began + ends)
        given = {"labels": LABELS, "annotations": {"summary": "full"}}
        return {**given, "status": status, "startsAt": self.iso(self.began + starts), "endsAt": end, **more}

    def hear(self, *given, **one):
        """How many alerts changed."""
        said = given or (self.one(**one),)
        return alert_intake.receive(self.story.store, {"version": "4", "alerts": list(said)}, self.story.clock.at)

    def look(self, wait=60):
        self.story.clock.at += wait
        look(self.world)

    @property
    def firing(self):
        with self.story.store.read() as connection:
            return [one for one in alerts.every(connection) if one.firing]

    @property
    def everything(self):
        with self.story.store.read() as connection:
            return alerts.every(connection)

    @property
    def faults(self):
        with self.story.store.read() as connection:
            return alerts.faults(connection)

    @property
    def messages(self):
        with self.story.store.read() as connection:
            rows = connection.execute(select(schema.messages).order_by(schema.messages.c.created_at)).mappings()
            return [(row["title"], row["body"], json.loads(row["payload"])) for row in rows]


@pytest.fixture
def room(story):
    return Room(story)


def test_people_are_told_which_alert_it_is(room):
    room.hear(annotations={})
    room.look()
    ((title, body, payload),) = room.messages
    assert title == "[opsqueue] DiskFull on db1: 1 firing"
    assert "- critical: DiskFull on db1" in body
    assert "{}" not in body
    assert payload["alerts"][0]["labels"]["alertname"] == "DiskFull"


def test_their_list_names_them_too(room, line):
    room.hear()
    table = line("alerts", "list")
    assert "critical  DiskFull  db1" in table.out
    assert table.err == ""
    (one,) = line("alerts", "list", "--output", "json").json["alerts"]
    assert (one["rule"], one["called"], one["note"]) == ("alertmanager", "DiskFull", "full")
    assert "DiskFull on db1: acknowledged" in line("alerts", "ack", one["fingerprint"][:8]).out


# What is one alert


def test_the_warning_fires_on_when_the_critical_one_is_over(room):
    warning = {**LABELS, "severity": "warning"}
    assert room.hear(labels=warning) == 1
    assert room.hear(starts=600) == 1
    assert sorted(one.severity.value for one in room.firing) == ["critical", "warning"]
    assert room.hear(status="resolved", starts=600, ends=1200) == 1
    assert room.hear(labels=warning) == 0
    assert [one.severity.value for one in room.firing] == ["warning"]


def test_what_alertmanager_calls_the_same_is_the_same(room):
    assert room.hear(fingerprint="a1") == 1
    assert room.hear(fingerprint="a2") == 1
    assert room.hear(status="resolved", ends=60, fingerprint="a1") == 1
    assert len(room.firing) == 1


# What is news


def test_the_same_once_more_is_no_news(room):
    for given in ({}, {"status": "resolved", "ends": 600}):
        assert [room.hear(**given) for _ in range(3)] == [1, 0, 0]
        room.look()


def test_what_fires_anew_with_its_old_beginning_is_heard(room):
    room.hear()
    first = room.firing[0].incident
    room.hear(status="resolved", ends=600)
    room.look()
    assert room.hear() == 1
    (one,) = room.firing
    assert (one.fired_at, one.incident != first) == (room.story.clock.at, True)
    assert room.hear() == 0, "and a repeat is none again"
    assert room.hear(status="resolved", ends=600) == 0, "nor is its old end"
    assert len(room.firing) == 1
    # It ended at the sender before we heard that it fires; we heard that late.
    assert room.hear(status="resolved", ends=700) == 1
    (over,) = room.everything
    assert (over.firing, over.resolved_at) == (False, over.fired_at)


def test_an_old_end_does_not_end_what_began_since(room):
    room.hear(starts=600)
    assert room.hear(status="resolved", starts=0, ends=300) == 0
    assert len(room.firing) == 1


def test_an_end_of_what_never_fired_is_nothing(room):
    assert room.hear(status="resolved", ends=60) == 0
    assert room.everything == []


def test_a_beginning_in_the_future_is_told_once(room, caplog):
    assert [room.hear(starts=86_400 * 30) for _ in range(3)] == [1, 0, 0]
    assert room.firing[0].fired_at == room.story.clock.at
    for _ in range(3):
        room.look()
        assert room.hear(starts=86_400 * 30) == 0
    tick(room.world)
    assert "the clock was set back" not in caplog.text
    assert room.hear(status="resolved", starts=86_400 * 30, ends=86_400 * 30) == 1


# How many


def test_only_so_many_may_fire_and_the_others_are_counted(room, monkeypatch):
    monkeypatch.setattr(alert_intake, "MOST_ALERTS", 3)
    many = [room.one(labels={"alertname": f"a{number}"}) for number in range(5)]
    with pytest.raises(InvalidRequest, match=r"2 of 5 alerts are refused, .* more than the 3"):
        room.hear(*many)
    assert len(room.firing) == 3
    taken = {one.labels["alertname"] for one in room.firing}
    with pytest.raises(InvalidRequest):
        room.hear(*many)
    first = next(one for one in many if one["labels"]["alertname"] in taken)
    assert room.hear({**first, "status": "resolved", "endsAt": room.iso(room.began + 60)}) == 1
    assert room.hear(next(one for one in many if one["labels"]["alertname"] not in taken)) == 1


def test_of_those_that_are_over_only_so_many_are_remembered(room, monkeypatch):
    monkeypatch.setattr("opsqueue.pipeline.alert_tick.MOST_ALERTS", 2)
    for number in range(5):
        name = {"labels": {"alertname": f"a{number}"}}
        room.hear(starts=number, **name)
        room.hear(status="resolved", starts=number, ends=60 + number, **name)
    room.look()
    assert sorted(one.labels["alertname"] for one in room.everything) == ["a3", "a4"]


# One bad alert


def test_one_time_that_cannot_be_is_refused_and_the_others_are_taken(room):
    bad = {**room.one(labels={"alertname": "y1"}), "startsAt": "0001-01-01T00:00:00+23:59"}
    with pytest.raises(InvalidRequest, match=r"1 of 2 alerts are refused, the others are taken: alerts\.0\.startsAt"):
        room.hear(bad, room.one())
    assert [one.called for one in room.firing] == ["DiskFull"]


def test_a_time_that_cannot_be_in_the_record_silences_nobody(room, line):
    room.hear()
    (good,) = room.firing
    bad = replace(good, fingerprint="0" * 32, labels={**good.labels, "host": "odd"}, incident="i", version=0)
    with room.story.store.begin() as tx:
        alerts.save(tx, bad, replace(bad, fired_at=-62_135_683_140.0, active_at=1e300))
    assert line("alerts", "list").status == 0
    room.look()
    assert "DiskFull on db1" in room.messages[0][1]
    assert "since 0001-01-02T00:00:00Z" in room.messages[0][1]
    assert room.faults == {}


def broken(monkeypatch, where, whose):
    """Let a step of the look fail for one host."""
    module, name = where.rsplit(".", 1)
    real = getattr(import_module(module), name)

    def step(*given, **more):
        if any(isinstance(one, Alert | Group) and one.labels.get("host") == whose for one in given):
            raise RuntimeError("it is broken")
        return real(*given, **more)

    monkeypatch.setattr(where, step)


@pytest.mark.parametrize(
    "where",
    [
        "opsqueue.pipeline.alert_tick._aged",
        "opsqueue.pipeline.alert_tick._look_for_one",
        "opsqueue.pipeline.alert_tick._tell_group",
        "opsqueue.alerts.grouping.route_of",
        "opsqueue.pipeline.alert_people._call",
        "opsqueue.pipeline.remediate._decide",
    ],
)
def test_what_fails_for_one_fails_for_no_other(room, line, monkeypatch, caplog, where):
    route = {"name": "all", "group_by": ["host"], "escalation": [{"after_s": 0, "channels": ["log"]}]}
    mend = {"action": "run", "type": "set_value", "parameters": {"value": 1}}
    high = {"name": "high", "metric": "value", "threshold": 5, "for_s": 0, "actions": [mend]}
    given = {**GIVEN, "rules": [high], "routes": [route], "remediation": {"allowed": ["set_value"]}}
    room.world = room.story.world(alerts=given)
    for host in ("h1", "h2"):
        room.story.machines[host].value = 9
    room.story.drive(room.story.ask("look_value", systems=("h1", "h2")), alerts=given)
    with monkeypatch.context() as patch:
        # Of a look in which all goes well nothing else is asked than that the step was taken for h2.
        broken(patch, where, "h1")
        for _ in range(3):
            room.look()
    told = {title for title, _, _ in room.messages}
    assert any("h2" in title for title in told)
    assert caplog.text.count("ERROR in the look at") == 1, "once, not at each look"
    (name,) = room.faults
    assert "RuntimeError: it is broken" in room.faults[name][0]
    assert name in caplog.text
    assert f"the look at {name} fails since" in line("alerts", "list").err.replace("…", "")
    doctor = {one["check"]: one for one in line("doctor", "--output", "json").json["checks"]}
    assert (doctor["alerts"]["state"], name in doctor["alerts"]["message"]) == ("fail", True)
    room.look()
    assert room.faults == {}, "when it goes well again that is gone"
    assert "the look at" not in line("alerts", "list").err


def test_when_the_whole_look_fails_that_is_said(room, line, monkeypatch, caplog):
    room.hear()
    with monkeypatch.context() as patch:
        patch.setattr("opsqueue.pipeline.alert_tick.view", lambda world: 1 / 0)
        room.look()
        room.look()
    assert caplog.text.count("ERROR in the look at alerts") == 1
    assert "the look at all alerts fails since" in line("alerts", "list").err
    doctor = {one["check"]: one for one in line("doctor", "--output", "json").json["checks"]}
    assert doctor["alerts"]["state"] == "fail"
    assert "the look at all of them fails, since" in doctor["alerts"]["message"]
    assert "ZeroDivisionError" in doctor["alerts"]["message"]
    assert "ERROR in the look" in doctor["alerts"]["mend"]
    room.look()
    assert {one["check"]: one for one in line("doctor", "--output", "json").json["checks"]}["alerts"]["state"] == "ok"
    assert (room.faults, len(room.messages)) == ({}, 1)

"""Alerts with the real command: a number of this machine, a rule, a message over a real connection, a killed system."""

from __future__ import annotations

import json
import os
import signal

import pytest
from listeners import hook
from place import until

from opsqueue.embedded.redis import running

pytestmark = pytest.mark.service

LOOK = ("--name", "look", "--type", "system_monitoring", "--systems", "web-server-1", "--output", "json")


@pytest.fixture
def room(make_place):
    with hook() as server:
        place = make_place(
            notification_channels={"webhook": f"http://127.0.0.1:{server.server_port}/alerts"},
            schedule={"system-monitoring": False, "health-check": False, "capacity-planning": False},
            alerts={
                "built_in": False,
                "rules": [{"name": "used", "condition": "memory_usage > 0 && host == 'web-server-1'", "for_s": 0}],
                "routes": [{"name": "all", "channels": ["webhook"], "group_wait_s": 0, "group_interval_s": 1}],
            },
        )
        place.server = server
        yield place


def start(place):
    place.up = place.start("opsqueue", "up", "--no-flower")
    until(lambda: running(place.state / "redis"), 60, lambda: place.said(place.up))


def alerts_of(place):
    """What was posted of alerts: by incident, what it said, in order."""
    found: dict[str, list[str]] = {}
    for _path, body in place.server.got:
        for one in body["alerts"] if body.get("event") == "alerts" else ():
            found.setdefault(one["incident"], []).append(one["status"])
    return found


def test_from_a_number_to_a_message_through_a_killed_system(room):
    start(room)
    assert room.ops("execute", *LOOK).code == 0
    until(lambda: alerts_of(room), 60, room.log)
    (one,) = room.ops("alerts", "list", "--output", "json").json["alerts"]
    assert (one["rule"], one["host"], one["state"]) == ("used", "web-server-1", "firing")
    assert room.ops("alerts", "ack", one["fingerprint"][:8], "--comment", "looking").code == 0

    os.killpg(room.up.pid, signal.SIGKILL)
    room.up.wait(20)
    start(room)
    assert room.ops("execute", *LOOK).code == 0, "the next reading finds it firing still"
    assert room.ops("alerts", "add", "more", "--condition", "memory_usage > 0", "--set", '{"for_s": 0}').code == 0
    assert room.ops("execute", *LOOK).code == 0
    until(lambda: len(alerts_of(room)) == 2, 60, room.log)
    assert alerts_of(room)[one["incident"]] == ["firing"], "told once, before and after"

    assert room.ops("alerts", "remove", "more").code == 0
    until(lambda: "resolved" in {word for words in alerts_of(room).values() for word in words}, 60, room.log)
    figures = room.ops("alerts", "stats", "--since", "1h", "--output", "json").json
    assert (figures["fired"], figures["open"], figures["mtta"]["count"], figures["mttr"]["count"]) == (2, 1, 1, 1)


def test_an_alert_is_looked_after_by_an_operation(room):
    """Planned, sent as planned, verified, in the name of who asked; and a rule is made and removed."""
    start(room)
    assert room.ops("execute", *LOOK, "--wait").code == 0
    (one,) = room.ops("alerts", "list", "--output", "json").json["alerts"]
    ack = json.dumps({"action": "ack", "alerts": [one["fingerprint"][:8]], "comment": "looking"})
    asked = ("--name", "look-after", "--type", "alert_management", "--systems", "web-server-1", "--output", "json")
    planned = room.ops("plan", *asked, "--parameters", ack).json
    assert room.ops("alerts", "list", "--output", "json").json["alerts"][0]["acknowledged_by"] is None
    done = room.ops("execute", *asked, "--parameters", ack, "--wait")
    assert done.code == 0, done.err
    assert (done.json["outcome"], done.json["digest"]) == ("succeeded", planned["digest"])
    (step,) = done.json["targets"][0]["steps"]
    assert step["command"] == planned["targets"][0]["steps"][0]["command"]
    (known,) = room.ops("alerts", "list", "--output", "json").json["alerts"]
    assert known["acknowledged_by"] == done.json["requested_by"]

    rule = {"name": "swap", "metric": "swap_usage", "threshold": 50}
    made = room.ops("execute", *asked, "--parameters", json.dumps({"action": "create", "rule": rule}), "--wait")
    assert (made.code, made.json["outcome"]) == (0, "succeeded"), made.err
    sources = {rule["name"]: rule["source"] for rule in room.ops("alerts", "rules", "--output", "json").json["rules"]}
    assert sources["swap"] == "added"
    gone = room.ops("execute", *asked, "--parameters", json.dumps({"action": "delete", "name": "swap"}), "--wait")
    assert (gone.code, gone.json["outcome"]) == (0, "succeeded"), gone.err

    by_hand = room.ops("alerts", "resolve", one["fingerprint"][:8], "--comment", "seen to")
    assert by_hand.code == 0, by_hand.err
    assert room.ops("alerts", "list", "--output", "json").json["alerts"] == []
    again = room.ops("alerts", "resolve", one["fingerprint"][:8], "--comment", "seen to")
    assert (again.code, "nothing to resolve" in again.err) == (9, True)

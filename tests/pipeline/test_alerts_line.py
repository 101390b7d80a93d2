"""`opsqueue alerts` over the record of a story, and the same from Python."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from opsqueue.awaitable import OperationsMCP
from opsqueue.client import Operations
from opsqueue.errors import Conflict, InvalidRequest
from opsqueue.pipeline.alert_intake import receive
from opsqueue.pipeline.alert_tick import look
from opsqueue.settings import load
from opsqueue.store import alerts

HIGH = {"name": "high", "metric": "value", "threshold": 5, "for_s": 0, "clear": 5}
GIVEN = {"built_in": False, "rules": [HIGH]}


@pytest.fixture
def fired(story, line):
    """The command line, with an alert that fires."""
    line.set(alerts=GIVEN)
    story.clock.at = time.time() - 3000
    for value in (1, 9, 1, 9):
        story.machines["h1"].value = value
        story.drive(story.ask("look_value"), alerts=GIVEN)
        look(story.world(alerts=GIVEN))
        story.clock.at += 60
    return line


def test_what_fires_is_listed(fired):
    said = fired("alerts", "list", "--output", "json")
    (one,) = said.json["alerts"]
    assert (one["rule"], one["host"], one["state"], one["value"], one["threshold"]) == ("high", "h1", "firing", 9, 5)
    table = fired("alerts", "list")
    assert one["fingerprint"][:12] in table.out
    assert "firing  warning   high  h1    9" in table.out


def test_it_is_acknowledged(fired):
    (one,) = fired("alerts", "list", "--output", "json").json["alerts"]
    said = fired("alerts", "ack", one["fingerprint"][:8], "--for", "2h", "--comment", "on it")
    assert (said.status, said.out) == (0, "high on h1: acknowledged for 2h\n")
    (one,) = fired("alerts", "list", "--output", "json").json["alerts"]
    assert "@" in one["acknowledged_by"]
    assert fired("alerts", "ack", "ffffffff").status == 10
    back = fired("alerts", "ack", one["fingerprint"][:8], "--end")
    assert (back.status, back.out) == (0, "high on h1: nobody looks after it now\n")
    (one,) = fired("alerts", "list", "--output", "json").json["alerts"]
    assert one["acknowledged_by"] is None
    assert fired("alerts", "ack", one["fingerprint"][:8], "--end").status == 9


def test_it_is_resolved_by_hand(fired):
    (one,) = fired("alerts", "list", "--output", "json").json["alerts"]
    assert fired("alerts", "resolve", one["fingerprint"][:8], "--comment", " ").status == 2
    said = fired("alerts", "resolve", one["fingerprint"][:8], "--comment", "replaced")
    assert (said.status, said.out) == (0, "high on h1 is over\n")
    assert fired("alerts", "list", "--output", "json").json["alerts"] == []
    assert "there is nothing to resolve" in fired("alerts", "resolve", one["fingerprint"][:8], "--comment", "x").err


def test_a_rule_is_added_by_its_fields(fired):
    assert fired("alerts", "add", "swap", "--set", '{"metric": "swap_usage", "threshold": 50}').status == 0
    assert "swap_usage > 50" in fired("alerts", "rules").out
    assert fired("alerts", "add", "swap2").status == 2


def test_a_rule_that_names_what_nobody_ever_measured_says_so(fired):
    assert fired("alerts", "add", "typo", "--condition", "valeu > 5").status == 0
    assert fired("alerts", "add", "text", "--condition", 'value > 5 && metrics["disk:/"] > 5').status == 0
    assert fired("alerts", "add", "well", "--condition", "value > 5 || value < -5").status == 0
    found = {one["name"]: one for one in fired("alerts", "rules", "--output", "json").json["rules"]}
    assert {name: one["health"] for name, one in found.items()} == {
        **dict.fromkeys(("high", "well"), "ok"),
        **dict.fromkeys(("text", "typo"), "no data"),
    }
    assert found["typo"]["never_seen"] == [{"name": "valeu", "hint": "did you mean 'value'?"}]
    assert [one["name"] for one in found["text"]["never_seen"]] == ["disk:/"]
    table = fired("alerts", "rules")
    assert "no data" in table.out
    assert "typo: no host ever had a number called valeu; did you mean 'value'?" in table.err


def test_before_anything_was_measured_no_rule_is_blamed(empty):
    empty.set(alerts={"rules": [HIGH]})
    assert empty("db", "upgrade").status == 0
    found = empty("alerts", "rules", "--output", "json").json["rules"]
    assert {one["health"] for one in found} == {"ok"}


def test_a_silence_is_made_listed_and_ended(fired):
    said = fired("alerts", "silence", 'host="h1"', "--for", "2h", "--comment", "new disk", "--output", "json")
    assert (said.status, said.json["state"], said.json["matchers"]) == (0, "active", [['host="h1"']])
    assert 'host="h1"' in fired("alerts", "silence", "--list").out
    assert fired("alerts", "silence", "--end", said.json["silence_id"][:8]).status == 0
    assert fired("alerts", "silence", "--list").err == "nothing is silenced\n"
    assert fired("alerts", "silence", "--end", said.json["silence_id"][:8]).status == 9


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("silence", 'host="h1"', "--for", "2h"), 2, "comment"),
        (("silence", 'host="h1"', "--comment", "x"), 2, "--for"),
        (("silence", "--for", "2h", "--comment", "x"), 2, "at least one matcher"),
        (("silence", 'host=~".*"', "--for", "2h", "--comment", "x"), 2, "silence all"),
        (("silence", "nonsense", "--for", "2h", "--comment", "x"), 2, "a matcher is"),
        (("add", "x", "--condition", "cpu_usage >"), 2, "no CEL"),
        (("add", "x", "--condition", "a > 1", "--action", "notify:nobody"), 2, "no notification channel 'nobody'"),
        (("add", "x", "--condition", "a > 1", "--action", '{"action": "run", "type": "nothing"}'), 2, "operation type"),
        (("add", "x", "--condition", "a > 1", "--action", "reboot"), 2, "reboot"),
        (("add", "x", "--condition", "a > 1", "--set", "[]"), 2, "JSON object"),
        (("add", "x", "--condition", "a > 1", "--set", '{"for": 5}'), 2, "for"),
        (("add", "high", "--condition", "a > 1"), 9, "the configuration has"),
        (("add", "NoData", "--condition", "a > 1"), 2, "the engine's own"),
        (("remove", "nothing"), 10, "no custom alert rule"),
        (("test", "hihg"), 10, "did you mean 'high'"),
        (("receive", "/nowhere.json"), 2, "cannot be read"),
    ],
)
def test_what_cannot_be_done_says_why(fired, words, status, said):
    found = fired("alerts", *words)
    assert found.status == status
    assert said in found.err


def test_a_rule_is_added_changed_and_removed(fired):
    assert fired("alerts", "add", "mine", "--condition", "value > 3", "--set", '{"for_s": 0}').status == 0
    assert fired("alerts", "add", "mine", "--condition", "value > 4").status == 9
    assert fired("alerts", "add", "mine", "--condition", "value > 4", "--update").status == 0
    assert fired("alerts", "add", "text", "--condition", "value > 4 && value < 9", "--action", "notify:log").status == 0
    found = {one["name"]: one for one in fired("alerts", "rules", "--output", "json").json["rules"]}
    assert {name: one["source"] for name, one in found.items()} == {
        "high": "configuration",
        "mine": "added",
        "text": "added",
    }
    assert (found["mine"]["metric"], found["mine"]["threshold"], found["mine"]["condition"]) == ("value", 4, None)
    assert found["text"]["condition"] == "value > 4 && value < 9"
    assert "value > 4" in fired("alerts", "rules").out
    assert fired("alerts", "remove", "mine").status == 0


def test_a_rule_is_tried_over_the_past_and_nothing_changes(fired):
    before = fired("alerts", "list", "--all", "--output", "json").out
    said = fired("alerts", "test", "high", "--since", "1d", "--output", "json").json
    assert (said["readings"], said["fired"]) == (4, 2)
    assert [one["kind"] for one in said["transitions"]] == ["firing", "resolved", "firing"]
    tried = fired("alerts", "test", "other", "--condition", "value > 100 || value < 2", "--set", '{"for_s": 0}')
    assert "other would have fired 2 times in 4 readings; nobody was told" in tried.out
    assert fired("alerts", "list", "--all", "--output", "json").out == before


def test_the_figures(fired):
    said = fired("alerts", "stats", "--since", "1d", "--output", "json").json
    assert (said["fired"], said["open"], said["mttr"]["count"]) == (2, 1, 1)
    table = fired("alerts", "stats").out
    assert "2 fired, 1 still open" in table
    assert "1 min on average" in table


def test_without_a_record_there_is_nothing(empty):
    assert (empty("alerts", "list").status, empty("alerts", "stats").status) == (0, 0)
    assert empty("alerts", "ack", "1234").status == 12


def test_a_webhook_of_alertmanager_is_taken_once(story, fired, tmp_path):
    alert = {
        "status": "firing",
        "labels": {"alertname": "Down", "instance": "h2:9100", "severity": "critical"},
        "annotations": {"summary": "gone"},
        "startsAt": "2027-01-15T08:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
    }
    file = tmp_path / "webhook.json"
    file.write_text(json.dumps({"version": "4", "alerts": [alert]}))
    assert fired("alerts", "receive", str(file)).out == "1 alerts changed\n"
    assert fired("alerts", "receive", str(file)).out == "0 alerts changed\n"
    look(story.world(alerts=GIVEN))
    with story.store.read() as connection:
        (one,) = [alert for alert in alerts.active(connection) if alert.rule == "alertmanager"]
    assert (one.host, one.severity, one.note, one.firing) == ("h2", "critical", "gone", True)
    over = {**alert, "status": "resolved", "endsAt": "2027-01-15T09:00:00Z"}
    late = {"version": "4", "alerts": [over, alert]}
    assert receive(story.store, late) == 1
    assert receive(story.store, late) == 0, "late and repeated ones change nothing"
    with story.store.read() as connection:
        assert not [alert for alert in alerts.active(connection) if alert.rule == "alertmanager"]


# From Python


def test_a_rule_from_python(story, line):
    line.set(alerts=GIVEN)
    settings = load(str(line.config))
    client = Operations(settings)
    assert client.add_custom_alert_rule("mine", "value >= 9", "notify", for_s=0) == "mine"
    assert client.add_custom_alert_rule("mine", "value >= 9", "notify", for_s=0) == "mine", "the same once more"
    with pytest.raises(Conflict, match="another alert rule"):
        client.add_custom_alert_rule("mine", "value >= 8")
    run = {"action": "run", "type": "service_restart", "parameters": {"service_name": "nginx"}}
    client.add_custom_alert_rule("mend", {"metric": "value", "op": "<", "threshold": 1}, ["notify:log", run])
    mcp = OperationsMCP(settings)
    assert asyncio.run(mcp.add_custom_alert_rule("awaited", 'value > 5 && host == "h1"')) == "awaited"
    with pytest.raises(InvalidRequest, match="exactly one"):
        client.add_custom_alert_rule("both", {"metric": "value", "threshold": 1, "condition": "true"})
    with pytest.raises(InvalidRequest, match="plain text"):
        client.add_custom_alert_rule(
            "secret", "value > 1", {"action": "run", "type": "service_restart", "parameters": {"password": "hunter2"}}
        )
    story.machines["h1"].value = 9
    story.drive(story.ask("look_value"), alerts={"built_in": False})
    with story.store.read() as connection:
        assert [alert.rule for alert in alerts.active(connection) if alert.firing] == ["mine"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rules": [HIGH, HIGH]}, "two of the rules are called 'high'"),
        ({"rules": [{"name": "x", "condition": "value >"}]}, "alerts.rules.x: the condition is no CEL"),
        ({"rules": [HIGH | {"actions": [{"action": "notify", "channels": ["emial"]}]}]}, "no notification channel"),
        ({"rules": [HIGH | {"escalation": [{"after_s": 1, "channels": ["sms"]}]}]}, "no notification channel 'sms'"),
        ({"remediation": {"allowed": ["service_restrat"]}}, "did you mean 'service_restart'"),
        ({"routes": [{"name": "x", "channels": ["sms"]}]}, "alerts.routes.x"),
        ({"routes": [{"name": "x", "match": ["severity"]}]}, "a matcher is"),
        ({"inhibit": [{"source": ['rule="a"'], "target": []}]}, "target"),
        ({"rulez": []}, "rulez"),
    ],
)
def test_what_the_configuration_asks_for_is_there_or_refused(line, given, said):
    line.set(alerts=given)
    found = line("config", "check")
    assert found.status == 2
    assert said in found.err + found.out

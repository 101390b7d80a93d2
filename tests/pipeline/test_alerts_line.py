"""`opsqueue alerts` over the record of a story, and the same from Python."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from opsqueue.alerts.state import Limits, begin, step
from opsqueue.awaitable import OperationsMCP
from opsqueue.client import Operations
from opsqueue.errors import Conflict, InvalidRequest
from opsqueue.model.alert import Observation
from opsqueue.model.alert_rule import AlertRule
from opsqueue.pipeline.alert_intake import receive
from opsqueue.pipeline.alert_rules import parse_rule, wrong_with
from opsqueue.pipeline.alert_tick import look
from opsqueue.settings import Settings, load
from opsqueue.store import alerts

HIGH = {"name": "high", "metric": "value", "threshold": 5, "for_s": 0, "clear": 5}
MISSPELT = '{"action": "run", "type": "health_check", "parameters": {"chekcs": []}}'
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


def test_a_rule_and_its_part_are_told_apart(story, line):
    given = {"built_in": False, "rules": [{"name": "site down", "metric": "value*", "threshold": 5, "for_s": 0}]}
    line.set(alerts=given)
    with story.store.begin() as tx:
        labels = {"rule": "site down", "host": "h1", "part": "site"}
        rule = AlertRule.model_validate(given["rules"][0])
        before = begin(rule, labels)
        after = step(rule, before, Observation(labels=labels, at=time.time(), value=9), Limits())
        alerts.save(tx, before, after.alert, after.transitions)
    assert "site down (site)  h1" in line("alerts", "list").out
    assert line("alerts", "show", before.fingerprint[:8]).out.startswith("site down (site) on h1: firing, warning\n")


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
        "high": "ok",
        "well": "unknown",
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
    assert {one["health"] for one in found} == {"unknown"}


def test_a_rule_that_no_worker_asked_as_it_stands_here_is_unknown(story, fired):
    def health():
        return {one["name"]: one["health"] for one in fired("alerts", "rules", "--output", "json").json["rules"]}

    assert health() == {"high": "ok"}
    fired.set(alerts=GIVEN | {"rules": [HIGH | {"threshold": 6}, HIGH | {"name": "new"}]})
    assert health() == {"high": "unknown", "new": "unknown"}
    story.drive(story.ask("look_value"), alerts=GIVEN | {"rules": [HIGH | {"threshold": 6}]})
    assert health() == {"high": "ok", "new": "unknown"}, "the worker does not know the new one"


def test_where_it_ends_is_shown_whether_it_was_given_or_not(fired):
    fired.set(alerts={"rules": [HIGH | {"clear": 4}]})
    assert fired("alerts", "add", "mem", "--condition", "memory_usage > 60").status == 0
    assert fired("alerts", "add", "val", "--condition", "value < 100").status == 0
    assert fired("alerts", "add", "text", "--condition", "value > 1 && value < 3").status == 0
    found = {one["name"]: one["clears_at"] for one in fired("alerts", "rules", "--output", "json").json["rules"]}
    assert {name: found[name] for name in ("cpu_usage", "high", "mem", "val", "text")} == {
        "cpu_usage": 75,
        "high": 4,
        "mem": 55,
        "val": 105,
        "text": None,
    }
    (row,) = [line for line in fired("alerts", "rules").out.splitlines() if line.startswith("mem ")]
    assert row.split() == ["mem", "added", "memory_usage", ">", "60", "5", "min", "55", "warning", "no", "data"]


def test_a_built_in_rule_is_replaced_only_by_who_says_so(fired):
    fired.set(alerts={"rules": [HIGH]})
    refused = fired("alerts", "add", "cpu_usage", "--condition", "cpu_usage > 60")
    assert (refused.status, "built-in" in refused.err, "--update" in refused.err) == (9, True, True)
    done = fired("alerts", "add", "cpu_usage", "--condition", "cpu_usage > 60", "--update")
    assert (done.status, done.out) == (0, "cpu_usage counts from the next reading on, in place of the built-in rule\n")
    assert fired("alerts", "add", "cpu_usage", "--condition", "cpu_usage > 60").status == 0, "the same once more"
    assert fired("alerts", "remove", "cpu_usage").status == 0
    found = {one["name"]: one["source"] for one in fired("alerts", "rules", "--output", "json").json["rules"]}
    assert found["cpu_usage"] == "built-in"
    fired.set(alerts=GIVEN)
    assert fired("alerts", "add", "cpu_usage", "--condition", "cpu_usage > 60").status == 0, "there is none"


def test_what_is_over_is_listed_as_long_as_it_is_remembered(story, fired):
    found = fired("alerts", "list", "--all", "--output", "json").json["alerts"]
    assert [one["state"] for one in found] == ["firing", "inactive"]
    story.machines["h1"].value = 1
    for _ in range(40):
        story.drive(story.ask("look_value"), alerts=GIVEN)
        story.clock.at += 60
        look(story.world(alerts=GIVEN))
    story.clock.at += 600
    look(story.world(alerts=GIVEN))
    with story.store.read() as connection:
        assert alerts.every(connection) == [], "but for its history"
    found = fired("alerts", "list", "--all", "--output", "json").json["alerts"]
    assert [(one["rule"], one["host"], one["state"]) for one in found] == [("high", "h1", "inactive")] * 2
    assert all(one["fired_at"] < one["resolved_at"] for one in found)
    assert found[0]["resolved_at"] > found[1]["resolved_at"]
    assert fired("alerts", "list", "--all", "--since", "1s", "--output", "json").json["alerts"] == []
    assert fired("alerts", "list").err == "nothing fires\n"
    whole = fired("alerts", "show", found[1]["incident"][:13], "--output", "json").json
    assert (whole["rule"], whole["incident"], whole["repair"]) == ("high", found[1]["incident"], None)
    assert "resolved" in {line["kind"] for line in whole["history"]}


def test_all_that_is_known_of_one_alert_is_shown(story, fired):
    run = {"action": "run", "type": "service_restart", "parameters": {"service_name": "nginx"}}
    given = GIVEN | {"rules": [HIGH | {"actions": [run]}]}
    fired.set(alerts=given)
    (one,) = fired("alerts", "list", "--output", "json").json["alerts"]
    whole = fired("alerts", "show", one["fingerprint"][:8], "--output", "json").json
    assert {key: whole[key] for key in one} == one
    assert whole["repair"]["why"] == "service_restart is not in alerts.remediation.allowed"
    assert (whole["repair"]["now"], whole["repair"]["tries"]) == ("nothing", [])
    assert whole["repair"]["policy"]["max_per_day"] == 3
    assert """--parameters '{"service_name": "nginx"}'""" in whole["repair"]["command"]
    assert [line["kind"] for line in whole["history"]][:1] == ["firing"]
    story.clock.at += 60
    look(story.world(alerts=given))
    whole = fired("alerts", "show", one["fingerprint"][:8], "--output", "json").json
    assert {(told["channel"], told["title"]) for told in whole["told"]} >= {("log", "[opsqueue] high on h1: 1 firing")}
    table = fired("alerts", "show", one["fingerprint"][:8]).out
    assert "now: service_restart is not in alerts.remediation.allowed" in table
    assert "high on h1: firing, warning" in table
    assert fired("alerts", "show", "ffffffff").status == 10


def test_a_repair_that_can_never_be_asked_for_is_said_when_it_is_made(fired):
    run = {"action": "run", "type": "service_restart", "parameters": {"service_name": "nginx"}}
    fired.set(alerts=GIVEN | {"rules": [HIGH | {"actions": [run]}]})
    said = fired("config", "check", "--output", "json").json
    assert (said["good"], [one for one in said["doubts"] if "'high' runs service_restart" in one] != []) == (True, True)
    added = fired("alerts", "add", "mend", "--condition", "value > 1", "--action", json.dumps(run))
    assert (added.status, "not in alerts.remediation.allowed" in added.err) == (0, True)
    fired.set(alerts=GIVEN | {"rules": [HIGH | {"actions": [run]}], "remediation": {"allowed": ["service_restart"]}})
    assert not [one for one in fired("config", "check", "--output", "json").json["doubts"] if "never asked" in one]


def test_a_silence_says_what_it_keeps_quiet_now(fired):
    said = fired("alerts", "silence", 'host="h1"', "--for", "2h", "--comment", "new disk")
    assert (said.status, "keeps 1 alert quiet now" in said.out, said.err) == (0, True, "")
    said = fired("alerts", "silence", 'host="h11"', 'rule="hihg"', "--for", "2h", "--comment", "new disk")
    assert (said.status, "keeps 0 alerts quiet now" in said.out) == (0, True)
    assert 'host="h11": there is no host of this name; did you mean' in said.err
    assert "rule=\"hihg\": there is no rule of this name; did you mean 'high'?" in said.err
    data = fired("alerts", "silence", 'host=~"h.*"', "--for", "2h", "--comment", "x", "--output", "json").json
    assert (data["keeps_quiet"], data["doubts"]) == (1, [])


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
        (("add", "x", "--condition", "a > 1", "--action", MISSPELT), 2, "did you mean 'checks'"),
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
    ("text", "metric"),
    [
        ("disk_usage:/var/lib > 90", "disk_usage:/var/lib"),
        ("disk_usage:* > 90", "disk_usage:*"),
        ("response_time:http://web-1:8080/ > 500", "response_time:http://web-1:8080/"),
        ("cpu* >= 80", "cpu*"),
        ("memory_used/memory_total > 0.9", None),
        ("cpu_usage-cpu_steal > 3", None),
    ],
)
def test_a_condition_that_reckons_is_no_name_of_a_metric(text, metric):
    """It was kept as a rule over a metric that no host has, which never fires."""
    rule = parse_rule("r", text)
    assert (rule.metric, rule.condition) == (metric, None if metric else text)
    assert list(wrong_with(rule, Settings(), {})) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rules": [HIGH, HIGH]}, "two of the rules are called 'high'"),
        (
            {"rules": [HIGH | {"actions": [{"action": "run", "type": "health_check", "parameters": {"chekcs": []}}]}]},
            "alerts.rules.high: the parameters of health_check cannot be accepted: chekcs",
        ),
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

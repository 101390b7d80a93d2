"""The operation type that looks after alerts: through the whole chain, over a real record, and no host is asked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from opsqueue.errors import LeaseLost
from opsqueue.model.host import Host
from opsqueue.model.kind import Metric
from opsqueue.model.plan import Command
from opsqueue.model.request import parse_request
from opsqueue.operations.alert_management import OPERATION
from opsqueue.pipeline import alert_people
from opsqueue.pipeline.alert_tick import look
from opsqueue.pipeline.control import add_freeze, lift_freeze
from opsqueue.pipeline.desk import Desk
from opsqueue.pipeline.lease import Lease
from opsqueue.pipeline.preview import preview
from opsqueue.store import alert_parts, alerts, samples

HIGH = {"name": "high", "metric": "value", "threshold": 5, "for_s": 0}
SWAP = {"name": "swap", "metric": "value", "threshold": 7, "for_s": 0}
ACK = {"action": "ack", "comment": "the disk is being replaced"}
SILENCE = {"action": "silence", "comment": "new disk", "duration_s": 7200}
RESOLVE = {"action": "resolve", "matchers": ['rule="high"'], "comment": "replaced"}
CREATE = {"action": "create", "rule": SWAP}


class Desked:
    """A story with rules, in which the type is there."""

    def __init__(self, story):
        self.story = story
        story.settings["alerts"] = {"built_in": False, "rules": [HIGH], "routes": [{"group_wait_s": 0}]}
        usual = story.world

        def with_the_type(*given, **more):
            world = usual(*given, **more)
            return replace(world, kinds={**world.kinds, OPERATION.name: OPERATION})

        story.world = with_the_type

    def see(self, value, host="h1"):
        """An operation looks at the host; then the host is down."""
        machine = self.story.machines[host]
        machine.reachable, machine.value = True, value
        self.story.drive(self.story.ask("look_value", systems=(host,)))
        machine.reachable = False
        self.tick()

    def tick(self):
        self.story.clock.at += 60
        look(self.story.world())

    def ask(self, parameters, systems=("h1",), **more):
        return self.story.ask(OPERATION.name, systems, parameters, requested_by="ann", **more)

    def do(self, parameters, systems=("h1",), **more):
        """Ask, and work it to its end; no host is asked anything."""
        asked = {name: machine.asked for name, machine in self.story.machines.items()}
        shown = self.story.drive(self.ask(parameters, systems, **more))
        assert {name: machine.asked for name, machine in self.story.machines.items()} == asked
        return shown

    def read(self, how):
        with self.story.store.read() as connection:
            return how(connection)

    @property
    def alerts(self):
        return self.read(alerts.every)

    @property
    def alert(self):
        (one,) = self.alerts
        return one

    @property
    def lines(self):
        """The history of alerts, oldest first: what, who, why."""
        return [(one.kind.value, one.actor, one.reason) for one in self.read(alerts.history)][::-1]

    @property
    def silences(self):
        return self.read(lambda connection: alert_parts.silences_until(connection, self.story.clock.at))

    @property
    def rules(self):
        return {rule.name: rule for rule in self.read(alert_parts.custom_rules)}


@pytest.fixture
def desked(story):
    return Desked(story)


# Each action through the whole chain


def test_an_alert_is_acknowledged_in_the_name_of_who_asked_though_its_host_is_down(desked):
    desked.see(9)
    shown = desked.do(ACK)
    assert (shown["stage"], shown["outcome"]) == ("closed", "succeeded"), shown
    (target,) = shown["targets"]
    incident = desked.alert.incident
    comment = "'the disk is being replaced'"
    assert [step["command"] for step in target["steps"]] == [
        f"opsqueue alerts ack {incident} --for 14400s --comment {comment}"
    ]
    assert (desked.alert.acked_by, desked.alert.acked(desked.story.clock.at)) == ("ann", True)
    assert desked.lines[-1] == ("acknowledged", "ann", "the disk is being replaced")
    again = desked.do(ACK)
    assert again["outcome"] == "unchanged"
    assert [what for what, *_ in desked.lines].count("acknowledged") == 1


def test_only_the_alerts_that_are_meant_are_acknowledged(desked):
    desked.story.settings["alerts"]["rules"].append(SWAP)
    desked.see(9)
    (swap,) = [one for one in desked.alerts if one.rule == "swap"]
    assert desked.do({**ACK, "alerts": [swap.fingerprint[:8]]})["outcome"] == "succeeded"
    assert {one.rule: one.acked_by for one in desked.alerts} == {"high": "", "swap": "ann"}
    assert desked.do({**ACK, "matchers": ['severity="critical"']})["outcome"] == "unchanged"
    refused = desked.do({**ACK, "alerts": ["0000"]})
    assert refused["outcome"] == "failed"
    assert "no alert of h1 begins with 0000" in refused["targets"][0]["problems"][0]


def test_a_silence_keeps_the_alerts_of_its_host_quiet_and_no_others(desked):
    desked.see(9)
    desked.see(9, host="h2")
    shown = desked.do({**SILENCE, "matchers": ['rule="high"']})
    assert shown["outcome"] == "succeeded"
    (one,) = desked.silences
    assert sorted(map(str, one.matchers[0])) == ['host="h1"', 'rule="high"']
    assert (one.created_by, one.comment, one.ends_at - one.starts_at) == ("ann", "new disk", 7200)
    desked.tick()
    assert {alert.host: bool(alert.muted_by) for alert in desked.alerts} == {"h1": True, "h2": False}


def test_each_host_gets_a_silence_of_its_own(desked):
    assert desked.do(SILENCE, ("h1", "h2", "h3"))["outcome"] == "succeeded"
    assert sorted(str(one.matchers[0][0]) for one in desked.silences) == ['host="h1"', 'host="h2"', 'host="h3"']


def test_what_is_resolved_by_hand_is_told_and_fires_again_as_another_incident(desked):
    desked.see(9)
    first = desked.alert.incident
    assert desked.do(RESOLVE)["outcome"] == "succeeded"
    assert desked.lines[-1] == ("resolved", "ann", "replaced")
    assert not desked.alert.firing
    desked.story.clock.at += 600
    desked.tick()
    with desked.story.store.read() as connection:
        group = next(iter(alert_parts.groups(connection).values()), None)
    assert group is None or not group.sent, "that it is over was told"
    assert desked.do(RESOLVE)["outcome"] == "unchanged"
    desked.see(9)
    assert desked.alert.firing
    assert desked.alert.incident != first


def test_a_rule_is_made_changed_and_removed(desked):
    desked.see(9)
    request = {"name": "dry", "type": OPERATION.name, "target_systems": ["h1"], "parameters": CREATE}
    (shown,) = preview(desked.story.world(), parse_request(request))["targets"]
    assert "it would have fired 1 times in 1 min, all that is known of 7 days" in shown["note"]
    assert desked.do(CREATE)["outcome"] == "succeeded"
    assert desked.rules["swap"].threshold == 7
    assert desked.do(CREATE)["outcome"] == "unchanged"
    other = {**SWAP, "threshold": 8}
    refused = desked.do({"action": "create", "rule": other})
    assert (refused["outcome"], desked.rules["swap"].threshold) == ("failed", 7)
    assert "there is another alert rule called 'swap'" in refused["targets"][0]["problems"][0]
    assert desked.do({"action": "update", "rule": other})["outcome"] == "succeeded"
    assert desked.rules["swap"].threshold == 8
    assert desked.do({"action": "delete", "name": "swap"})["outcome"] == "succeeded"
    assert desked.rules == {}
    gone = desked.do({"action": "delete", "name": "swap"})
    assert "nobody added an alert rule 'swap'" in gone["targets"][0]["problems"][0]


@pytest.mark.parametrize(
    ("parameters", "systems", "why"),
    [
        (CREATE, ("h1", "h2"), "name one target system, not 2"),
        ({"action": "create", "rule": HIGH}, ("h1",), "the configuration has an alert rule called 'high'"),
        (
            {"action": "create", "rule": {**SWAP, "actions": [{"action": "notify", "channels": ["pagre"]}]}},
            ("h1",),
            "there is no notification channel 'pagre'",
        ),
    ],
)
def test_a_rule_that_cannot_be_honoured_is_refused_before_anything_is_sent(desked, parameters, systems, why):
    shown = desked.do(parameters, systems)
    assert (shown["outcome"], desked.rules) == ("failed", {})
    assert why in shown["targets"][0]["problems"][0]
    assert all(not target["steps"] for target in shown["targets"])


@pytest.mark.parametrize("action", ["list", "stats", "test", "evaluate"])
def test_to_look_changes_nothing_and_says_what_was_seen(desked, action):
    desked.see(9)
    before = desked.lines, desked.alerts
    shown = desked.do({"action": action, **({"name": "high"} if action == "test" else {})})
    assert (shown["outcome"], shown["targets"][0]["steps"]) == ("succeeded", [])
    assert (desked.lines, desked.alerts) == before
    numbers = {name: one["value"] for name, one in shown["metrics"]["h1"].items()}
    assert (numbers["alerts_active"], numbers["alerts_active:warning"]) == (1, 1)
    if action == "test":
        assert numbers["would_have_fired"] == 1
        assert "would_have_fired" in {finding["code"] for finding in shown["findings"]}
    if action == "stats":
        assert (numbers["alerts_fired"], numbers["mtta_s"]) == (1, None)


def test_a_rule_is_tried_over_the_past_and_says_what_people_would_hear_and_what_would_be_quieter(desked):
    """Each hour of two days it is over 5 for five minutes, once a day for half an hour and as high as 9."""
    now, rows = desked.story.clock.at, []
    for minute in range(2 * 24 * 60):
        long = minute % 1440 < 30
        value = 9.0 if long else 6.0 if minute % 60 < 5 else 1.0
        at = now - 2 * 86_400 + 60 * minute + 30
        rows.append(samples.Taken(host="h1", at=at, metrics={"value": Metric(name="value", value=value, unit="")}))
    with desked.story.store.begin() as tx:
        samples.add(tx, rows)
    rule = {**HIGH, "name": "often", "actions": [{"action": "notify", "channels": ["log"]}]}
    (target,) = preview(desked.story.world(), asking({"action": "create", "rule": rule}))["targets"]
    before = desked.lines, desked.alerts
    shown = desked.do({"action": "test", "rule": rule, "since_days": 2})
    desked.tick()
    assert (desked.lines, desked.alerts) == before
    assert [title for _channel, _event, title in desked.story.told if "often" in title] == [], "nobody was told"
    assert "it would have fired 48 times in 48 h, all that is known of 7 days (2880 readings)" in target["note"]
    assert target["note"].endswith("first message, to log: [opsqueue] often on h1: 1 firing")
    found = {one["code"]: one for one in shown["findings"]}
    assert found["would_have_fired"]["evidence"]["fired"] == 48
    longer, better = found["for_suggested"]["evidence"], found["threshold_suggested"]["evidence"]
    assert (longer["for_s"], longer["fired"]) == (300, 2), "only the half hours are longer than five minutes"
    assert (better["threshold"], better["fired"]) == (9.0, 0)


def asking(parameters):
    return parse_request({"name": "try", "type": OPERATION.name, "target_systems": ["h1"], "parameters": parameters})


def test_rules_are_not_asked_about_what_the_record_says_of_alerts(desked):
    """A condition over numbers of the host has no answer there, which would be an error of the rule."""
    desked.story.settings["alerts"]["rules"] += [
        {"name": "both", "condition": 'value > 5 && labels.zone == "a"', "for_s": 0},
        {"name": "loop", "metric": "alerts_active", "threshold": 0, "for_s": 0},
        {"name": "fine", "condition": "value > 5", "for_s": 0},
    ]
    desked.see(9)
    with desked.story.store.read() as connection:
        stood = alerts.health(connection)
    assert set(stood) == {"both"}
    firing = {one.rule for one in desked.alerts}
    shown = desked.do({"action": "evaluate"})
    with desked.story.store.read() as connection:
        assert alerts.health(connection) == stood
    assert {one.rule for one in desked.alerts} == firing == {"high", "fine"}
    assert [one["evidence"]["rule"] for one in shown["findings"]] == ["both"]
    # Nor over the past, in which the numbers of that look are stored beside those of the host.
    again = desked.do({"action": "evaluate"})
    assert [one["evidence"]["rule"] for one in again["findings"]] == ["both"]


def test_a_host_with_a_worker_of_its_own_is_not_waited_for(desked):
    desked.see(9)
    desked.story.own_workers.add("h1")
    assert desked.do(ACK)["outcome"] == "succeeded"
    assert desked.story.shards == []


# Beforehand, gates


@pytest.mark.parametrize("parameters", [ACK, SILENCE, RESOLVE, CREATE], ids=lambda given: given["action"])
def test_what_is_sent_is_what_the_dry_run_showed(desked, parameters):
    desked.see(9)
    request = {"name": "dry", "type": OPERATION.name, "target_systems": ["h1"], "parameters": parameters}
    before = desked.lines
    shown = preview(desked.story.world(), parse_request(request))
    assert (desked.lines, desked.silences, desked.rules) == (before, [], {})
    done = desked.do(parameters)
    assert done["digest"] == shown["digest"]
    sent = [step["command"] for step in done["targets"][0]["steps"]]
    assert sent == [step["command"] for step in shown["targets"][0]["steps"]]
    assert shown["risk"] == "reversible"


def test_a_freeze_holds_it(desked):
    desked.see(9)
    world = desked.story.world()
    freeze = add_freeze(world, scope=("all",), reason="release", ends_at=None, starts_at=None, actor="bob")
    operation_id = desked.ask(ACK)
    shown = desked.story.drive(operation_id)
    assert (shown["status"], shown["waits_for"], desked.alert.acked_by) == ("waiting", ["freeze"], "")
    lift_freeze(world, freeze.id, actor="bob")
    assert desked.story.drive(operation_id)["outcome"] == "succeeded"
    assert desked.alert.acked_by == "ann"


def test_to_look_is_free_of_freezes_and_no_window_of_a_host_counts(desked):
    desked.see(9)
    desked.story.settings["maintenance_windows"] = {"night": "02:00-02:01"}
    assert desked.do(ACK)["outcome"] == "succeeded"
    world = desked.story.world()
    add_freeze(world, scope=("all",), reason="release", ends_at=None, starts_at=None, actor="bob")
    assert desked.do({"action": "list"})["outcome"] == "succeeded"
    own = desked.story.drive(desked.ask(SILENCE, maintenance_window="night"))
    assert (own["status"], sorted(own["waits_for"])) == ("waiting", ["freeze", "maintenance_window"])


def test_an_alert_that_ends_while_it_is_planned_is_planned_anew(desked):
    desked.see(9)
    operation_id = desked.ask(ACK)
    desked.story.step(operation_id)
    alert_people.resolve_by_hand(
        desked.story.store, desked.alert.incident, by="bob", now=desked.story.clock.at, comment="mended"
    )
    shown = desked.story.drive(operation_id)
    assert shown["outcome"] == "unchanged"
    assert "replanned" in {result for _stage, result in desked.story.results(operation_id)}


# Crashes, and the same twice


def _done(desked):
    """What stands in the record of each action, as far as it is done."""
    return {
        "ack": desked.alert.acked_by == "ann",
        "silence": len(desked.silences) == 1,
        "resolve": not desked.alert.firing,
        "create": "swap" in desked.rules,
    }


_LINE = {"ack": "acknowledged", "resolve": "resolved"}


@pytest.mark.parametrize("kept", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, 12))
@pytest.mark.parametrize("parameters", [ACK, SILENCE, RESOLVE, CREATE], ids=lambda given: given["action"])
def test_a_worker_dies_at_a_write(desked, parameters, number, kept):
    action = parameters["action"]
    desked.see(9)
    operation_id = desked.ask(parameters)
    real = desked.story.store
    desked.story.dying(number, kept=kept)
    shown = desked.story.drive(operation_id)
    desked.story.store = real
    assert shown["stage"] == "closed"
    # What had not been written when the worker died is not sent again; what had been counts.
    assert shown["outcome"] == ("succeeded" if _done(desked)[action] else "failed")
    assert [what for what, *_ in desked.lines].count(_LINE.get(action, "acknowledged")) == (
        1 if action in _LINE and _done(desked)[action] else 0
    )
    assert len(desked.silences) <= 1


def test_doubled_messages_do_it_once(desked):
    desked.see(9)
    operation_id = desked.ask(ACK)
    while desked.story.raw(operation_id).stage != "closed":
        desked.story.step(operation_id)
        desked.story.step(operation_id)
    assert [what for what, *_ in desked.lines].count("acknowledged") == 1


# The desk by itself


@pytest.fixture
def desk(desked):
    """A desk that may change things, of an operation in the hands of a worker."""
    desked.see(9)
    world = desked.story.world()
    operation = desked.story.raw(desked.ask(ACK))
    return Desk(world, operation, Host(name="h1"), Lease(world, lambda _tx, _until: None, world.now()))


def run(desk, *words):
    return desk.run(Command(argv=("opsqueue", "alerts", *words)))


def test_the_same_command_twice_changes_nothing(desked, desk):
    incident = desked.alert.incident
    commands = [
        ("ack", incident, "--for", "600s", "--comment", "x"),
        ("silence", 'host="h1"', "--for", "600s", "--comment", "x"),
        ("add", "swap", "--set", json.dumps(SWAP)),
        ("add", "swap", "--set", json.dumps(SWAP), "--update"),
        ("ack", incident, "--end"),
        ("resolve", incident, "--comment", "x"),
        ("remove", "swap"),
    ]
    for words in commands:
        assert run(desk, *words).exit_code == 0, words
        stood = desked.lines, desked.alerts, desked.silences, desked.rules
        desked.story.clock.at += 1
        assert run(desk, *words).exit_code == 0, words
        assert (desked.lines, desked.alerts, desked.silences, desked.rules) == stood, words
    assert [what for what, *_ in desked.lines] == ["firing", "acknowledged", "ack_taken_back", "resolved"]
    (silence,) = desked.silences
    assert run(desk, "silence", "--end", silence.id).exit_code == 0
    assert run(desk, "silence", "--end", silence.id).exit_code == 0
    assert desked.silences == []


@pytest.mark.parametrize(
    "argv",
    [
        ("rm", "-rf", "/"),
        ("opsqueue", "alerts", "ack", "x"),
        ("opsqueue", "alerts", "ack", "x", "--for", "2h", "--comment", "x"),
        ("opsqueue", "alerts", "silence", 'host="h2"', "--for", "60s", "--comment", "x"),
        ("opsqueue", "alerts", "silence", 'rule="high"', "--for", "60s", "--comment", "x"),
        ("opsqueue", "alerts", "silence", "--for", "60s", "--comment", "x"),
        ("opsqueue", "alerts", "add", "swap", "--set", "{}", "--force"),
        ("opsqueue", "alerts", "add", "high", "--set", json.dumps(HIGH)),
        ("opsqueue", "alerts", "silence", "--end", "00000000"),
        ("opsqueue", "freeze", "add", "--scope", "all"),
    ],
)
def test_whatever_the_desk_does_not_know_is_refused(desked, desk, argv):
    stood = desked.lines, desked.alerts, desked.silences, desked.rules
    result = desk.run(Command(argv=argv))
    assert result.exit_code not in {0, None}
    assert result.stderr
    assert (desked.lines, desked.alerts, desked.silences, desked.rules) == stood


def test_an_alert_of_another_host_is_none_of_its_business(desked, desk):
    desked.see(9, host="h2")
    (other,) = [one for one in desked.alerts if one.host == "h2"]
    run(desk, "resolve", other.incident, "--comment", "x")
    assert all(one.firing for one in desked.alerts)


def test_who_lost_the_lease_changes_nothing(desked, desk):
    def lost(_tx, _until):
        raise LeaseLost("somebody else has it")

    late = replace(desk, lease=Lease(desk.world, lost, 0.0))
    with pytest.raises(LeaseLost):
        run(late, "resolve", desked.alert.incident, "--comment", "x")
    assert run(replace(desk, lease=None), "resolve", desked.alert.incident, "--comment", "x").exit_code == 2
    assert desked.alert.firing

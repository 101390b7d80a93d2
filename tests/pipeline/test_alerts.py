"""Alerts over real operations: from a number on a host to a message, and through every crash in between."""

from __future__ import annotations

import json
import shlex
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from opsqueue.alerts.matching import new_silence
from opsqueue.cli import catalogue
from opsqueue.cli.asking import request_of
from opsqueue.errors import InvalidRequest
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.matcher import parse_matchers
from opsqueue.model.request import parse_request
from opsqueue.notify.receipt import Receipt
from opsqueue.pipeline import alert_people, alerting
from opsqueue.pipeline.alert_intake import receive
from opsqueue.pipeline.alert_tick import look, tick
from opsqueue.pipeline.evidence import own_window
from opsqueue.pipeline.telling import send_due
from opsqueue.settings import Settings
from opsqueue.store import alert_parts, alerts, history, operations, schema, tellings
from opsqueue.tasks import alerter

HIGH = {"name": "high", "metric": "value", "threshold": 5, "for_s": 60, "clear": 5}


@dataclass
class Room:
    """A story in which hosts are looked at by the minute, and alerts by every look of the clock."""

    story: object
    given: dict = field(default_factory=lambda: {"built_in": False, "rules": [HIGH]})

    def world(self, worker="worker-1"):
        return self.story.world(worker, alerts=self.given)

    def see(self, value, host="h1", wait=60):
        """An operation looks at the host, then time passes and the clock looks at all alerts."""
        self.story.machines[host].value = value
        self.story.drive(self.story.ask("look_value", systems=(host,)), alerts=self.given)
        self.story.clock.at += wait
        look(self.world())

    def wait(self, seconds, step=60):
        for _ in range(int(seconds // step)):
            self.story.clock.at += step
            look(self.world())

    def dying(self, number, work, *, kept):
        """Do it in a worker that is gone at its n-th write; whether it was."""
        real = self.story.store
        self.story.dying(number, kept=kept)
        try:
            work()
        except Exception:
            raise
        except BaseException:  # noqa: BLE001  # the crash of the story
            return True
        finally:
            self.story.store = real
        return False

    @property
    def alerts(self):
        with self.story.store.read() as connection:
            return alerts.every(connection)

    @property
    def kinds(self):
        with self.story.store.read() as connection:
            return [line.kind.value for line in alerts.history(connection)][::-1]

    @property
    def said(self):
        """The titles of what is to be told, oldest first."""
        return [one["title"].removeprefix("[opsqueue] ") for one in self.messages]

    @property
    def messages(self):
        """What is to be told, oldest first, and to whom."""
        with self.story.store.read() as connection:
            rows = connection.execute(select(schema.messages).order_by(schema.messages.c.created_at)).mappings()
            return [
                {
                    "event_id": row["event"],
                    "title": row["title"],
                    "body": row["body"],
                    "payload": json.loads(row["payload"]),
                    "channels": [one.channel for one in tellings.of(connection, row["event"])],
                }
                for row in rows
            ]

    def operations(self, kind="set_value"):
        with self.story.store.read() as connection:
            every = [*history.active(connection), *history.ended(connection, history.Wanted(limit=500))]
        return [one for one in every if one.type == kind]


@pytest.fixture
def room(story):
    return Room(story)


# From a number to a message


def test_a_number_becomes_a_message_and_its_end_another(room):
    room.see(9)
    assert ([alert.state for alert in room.alerts], room.said) == (["pending"], [])
    room.see(9)
    room.see(9, wait=30)
    assert room.kinds == ["pending", "firing"]
    assert room.said == ["high on h1: 1 firing"]
    told = room.messages[0]
    assert told["payload"]["alerts"][0]["labels"] == {"rule": "high", "host": "h1", "severity": "warning"}
    assert "value 9 (threshold 5)" in told["body"]
    assert told["channels"] == ["log"]
    room.see(1, wait=300)
    assert room.kinds == ["pending", "firing", "resolved"]
    assert room.said == ["high on h1: 1 firing", "high on h1: 1 resolved"]


def test_numbers_of_a_schedule_come_as_often_as_it_says(room):
    room.story.settings["schedule"] = {"look": {"type": "look_value", "every": 300}}
    for _ in range(3):
        room.see(9, wait=300)
    assert room.kinds == ["pending", "firing"], "neither a downtime each time, nor is anything missed in between"


def test_a_host_that_is_not_reached_is_not_up(room):
    down = {"name": "down", "metric": "up", "op": "<", "threshold": 1, "for_s": 0}
    room.given = {"built_in": False, "rules": [down, HIGH]}
    room.story.machines["h1"].reachable = False
    room.story.drive(room.story.ask("look_value", retry_count=0), alerts=room.given)
    assert [(alert.rule, alert.state, alert.value) for alert in room.alerts] == [("down", "firing", 0.0)]


def test_only_the_same_operation_says_that_a_failure_is_gone(room):
    failed = {"name": "failed", "finding": "*", "for_s": 0}
    room.given = {"built_in": False, "rules": [failed]}
    room.story.machines["h1"].wrong = True
    room.story.drive(room.story.ask(parameters={"to": 5}, retry_count=0), alerts=room.given)
    assert room.kinds == ["firing"]
    room.story.machines["h1"].wrong = False
    room.story.clock.at += 60
    room.story.drive(room.story.ask(parameters={"to": 6}), alerts=room.given)
    assert room.kinds == ["firing"]
    room.story.clock.at += 60
    room.story.drive(room.story.ask(parameters={"to": 5}), alerts=room.given)
    assert room.kinds == ["firing", "resolved"]


def told_of(room):
    with room.story.store.read() as connection:
        rows = tellings.newest(connection, 99, every=True)
    return {room.said[[one["event_id"] for one in room.messages].index(row.event)]: row.status for row in rows}


def test_old_news_are_not_told_after_later_ones(room):
    room.given["routes"] = [{"channels": ["webhook"]}]
    room.story.settings["notification_channels"] = {"webhook": "http://localhost:8000/"}
    room.story.receipts["webhook"] = Receipt(status="failed", error="503", permanent=False)
    room.see(9)
    room.see(9, wait=30)
    send_due(room.world())
    room.see(1, wait=300)
    room.story.receipts.clear()
    for _ in range(10):
        room.story.clock.at += 600
        send_due(room.world())
    assert told_of(room) == {"high on h1: 1 firing": "suppressed", "high on h1: 1 resolved": "accepted"}


def test_what_later_news_do_not_name_is_told_all_the_same(room):
    room.given["routes"] = [{"channels": ["webhook"], "group_interval_s": 60}]
    room.story.settings["notification_channels"] = {"webhook": "http://localhost:8000/"}
    room.see(9)
    room.see(9, wait=30)
    send_due(room.world())
    room.story.receipts["webhook"] = Receipt(status="failed", error="503", permanent=False)
    room.see(1, wait=90)
    send_due(room.world())
    room.see(9, host="h2")
    room.see(9, host="h2", wait=90)
    room.story.receipts.clear()
    for _ in range(10):
        room.story.clock.at += 600
        send_due(room.world())
    assert list(told_of(room).values()) == ["accepted"] * 3, "that it is over on h1 nobody else says"


def test_a_clock_that_is_set_back_stops_nothing(room):
    room.see(9)
    room.see(9, wait=30)
    assert room.kinds == ["pending", "firing"]
    assert tick(room.world())
    room.story.clock.at -= 7200
    assert tick(room.world("worker-2")), "the turn of before lies in the future"
    assert [alert.last_at for alert in room.alerts] == [room.story.clock.at]
    assert send_due(room.world("worker-2")) == 1, "nor does the message wait for the old time"
    room.wait(60)
    room.see(1, wait=300)
    assert room.kinds == ["pending", "firing", "resolved"]
    assert room.said == ["high on h1: 1 resolved", "high on h1: 1 firing"], "by its own clock it was said before"


def test_an_acknowledgement_lasts_no_longer_though_the_clock_was_ahead(room):
    room.given["rules"] = [HIGH | {"for_s": 0}]
    room.see(9)
    began = room.story.clock.at
    room.story.clock.at += 30 * 86_400
    alert_people.ack(room.story.store, room.alerts[0].fingerprint, by="ann", now=room.story.clock.at, seconds=3600)
    room.story.clock.at = began + 60
    assert tick(room.world())
    assert [alert.acked_until - room.story.clock.at for alert in room.alerts] == [3600]
    assert [alert.acked(room.story.clock.at) for alert in room.alerts] == [True]
    alert_people.unack(room.story.store, room.alerts[0].fingerprint, by="ann", now=room.story.clock.at + 1800)
    room.story.clock.at += 60
    assert tick(room.world())
    assert [alert.acked(room.story.clock.at) for alert in room.alerts] == [False], "it was taken back"


@pytest.mark.parametrize("back", [0, 1, 3600])
def test_what_fires_after_the_clock_was_set_back_is_told(room, back):
    """Its group begins anew, and numbers its messages by a time that was before: they are others all the same."""
    room.given["rules"] = [HIGH | {"for_s": 0}]
    for value in (9, 9, 1):
        room.see(value, wait=300)
        send_due(room.world())
    numbers = [int(one["event_id"].rpartition(":")[2]) for one in room.messages]
    room.wait(600)
    room.story.clock.at = numbers[0] - back - 90
    assert tick(room.world())
    room.wait(60)
    room.see(9, wait=30)
    room.wait(60)
    send_due(room.world())
    assert sorted(room.said) == ["high on h1: 1 firing", "high on h1: 1 firing", "high on h1: 1 resolved"]
    told = [title for _channel, _event, title in room.story.told if "high on h1" in title]
    assert told == [f"[opsqueue] high on h1: 1 {word}" for word in ("firing", "resolved", "firing")]


def test_it_reaches_the_channel_once_though_the_sender_dies(room):
    """Acceptance 2, to its end: decided in one look, sent by another process, with the event as idempotency key."""
    room.given["rules"] = [HIGH | {"for_s": 0}]
    room.see(9)
    for number in (1, 2, 3, 4):
        room.dying(number, lambda: send_due(room.world()), kept=True)
        room.story.clock.at += 600
    send_due(room.world())
    told = {event for channel, event, title in room.story.told if "high on h1" in title}
    assert len(told) == 1, "told perhaps twice, but as the same event"
    with room.story.store.read() as connection:
        (one,) = tellings.of(connection, room.messages[0]["event_id"])
    assert one.status == "accepted"


def test_many_hosts_are_one_message(room):
    for _ in range(2):
        for host in ("h1", "h2", "h3"):
            room.see(9, host, wait=0)
        room.wait(60)
    assert room.said == ["high: 3 firing"]
    assert len(room.messages[0]["payload"]["alerts"]) == 3


def test_the_thresholds_of_the_configuration_are_rules(story):
    with story.store.read() as connection:
        found = alerting.rules_now(story.world(alert_thresholds={"cpu_usage": 70}).settings, connection)
        none = alerting.rules_now(story.world(alerts={"built_in": False}).settings, connection)
    assert found.pop("alertmanager").finding == "alertmanager"
    assert {name: (rule.threshold, rule.clear, rule.for_s) for name, rule in found.items()} == {
        "cpu_usage": (70, 65, 300),
        "memory_usage": (85, 80, 300),
        "disk_usage": (90, 88, 600),
        "response_time": (5000, 4000, 180),
        "down": (0, None, 120),
    }
    assert list(none) == ["alertmanager"]


def test_a_condition_text_and_a_finding_are_rules_too(room):
    room.given["rules"] = [
        {"name": "text", "condition": "value > 5 && value < 100", "for_s": 0},
        {"name": "seen", "finding": "seen", "for_s": 0},
        {"name": "wrong", "condition": 'value > 5 && labels.zone == "a"', "for_s": 0},
        {"name": "absent", "condition": "nothing_here > 5", "for_s": 0},
    ]
    room.see(9)
    assert sorted(alert.rule for alert in room.alerts) == ["seen", "text"]
    with room.story.store.read() as connection:
        assert {rule: "no such member" in stood[0][1] for rule, stood in alerts.health(connection).items()} == {
            "wrong": True
        }
    room.given["rules"][2]["condition"] = "value > 500"
    room.see(9)
    with room.story.store.read() as connection:
        assert alerts.health(connection) == {}


def test_what_was_measured_before_is_known_as_long_as_it_counts(room):
    room.see(9)
    operation_id = room.story.ask("free_text")
    room.story.drive(operation_id, alerts=room.given)

    def lately(after):
        room.story.clock.at += after
        with room.story.store.read() as connection:
            operation = operations.get(connection, operation_id)
        (target,) = room.world().targets(operation)
        later = replace(target, verified_at=room.story.clock.at)
        (reading,) = alerting.readings(room.world(), operation, [later], [])
        assert reading.reached(), "it asks the host, if only for its value"
        return reading.lately()

    assert lately(0) == {"value": 9.0}
    assert lately(130) == {}, "three intervals later it counts no more"


def test_a_rule_of_a_person_counts_at_once_and_ends_its_alerts_when_it_goes(room):
    rule = AlertRule(name="mine", metric="value", threshold=3, for_s=0)
    with room.story.store.begin() as tx:
        alert_parts.put_rule(tx, rule, by="ann", now=room.story.clock.at)
    room.see(4)
    assert [alert.rule for alert in room.alerts] == ["mine"]
    with room.story.store.begin() as tx:
        alert_parts.delete_rule(tx, "mine")
    room.wait(60)
    assert room.kinds == ["firing", "resolved"]
    with room.story.store.read() as connection:
        assert alerts.history(connection)[0].reason == "rule_deleted"
    room.wait(600)
    assert room.said == ["mine on h1: 1 firing", "mine on h1: 1 resolved"]
    assert "its rule is gone: whether this is over is not known" in room.messages[1]["body"]
    assert room.alerts == [], "and nothing of it is left but its history"


@pytest.mark.parametrize(
    ("why", "words"), [("rule_disabled", "its rule is turned off"), ("host_gone", "its host is not in the inventory")]
)
def test_what_nobody_will_judge_any_more_ends(room, why, words):
    room.given["rules"] = [HIGH | {"for_s": 0}]
    room.see(9)
    room.wait(300)
    assert {alert.rule for alert in room.alerts if alert.firing} == {"high", "NoData"}
    if why == "rule_disabled":
        room.given["rules"][0]["enabled"] = False
    else:
        del room.story.machines["h1"]
    room.wait(60)
    with room.story.store.read() as connection:
        ended = [line for line in alerts.history(connection) if line.kind == "resolved"]
    assert {(line.rule, line.reason) for line in ended} == {("high", why), ("NoData", why)}
    room.wait(900)
    assert room.alerts == []
    over = [one["body"] for one in room.messages if "resolved" in one["title"]]
    assert over, room.said
    assert all(words in body and "whether this is over is not known" in body for body in over)


def test_a_finding_that_nobody_looks_for_again_ends_and_says_why(room):
    room.given["rules"] = [{"name": "seen", "finding": "seen", "for_s": 0}]
    room.given["finding_stale_s"] = 7200
    room.see(9)
    room.wait(7100, step=100)
    assert [alert.state.value for alert in room.alerts] == ["firing"]
    room.wait(200, step=100)
    assert [alert.state.value for alert in room.alerts] == ["inactive"]
    with room.story.store.read() as connection:
        assert "stale: nobody looked for it again" in alerts.history(connection)[0].reason
    assert "stale: nobody looked for it again" in room.messages[-1]["body"], "nor is it told as good news"
    room.wait(600)
    assert room.said == ["seen on h1: 1 firing", "seen on h1: 1 resolved"]


def test_who_decided_an_alert_elsewhere_says_when_it_is_over(room):
    began = {"startsAt": datetime.fromtimestamp(room.story.clock.at, UTC).isoformat(), "labels": {"alertname": "Down"}}
    receive(room.story.store, {"version": "4", "alerts": [{"status": "firing", **began}]})
    room.wait(5 * 86_400, step=43_200)
    assert [(alert.rule, alert.state.value) for alert in room.alerts] == [("alertmanager", "firing")]


def test_what_we_see_of_a_host_ends_nothing_that_was_decided_elsewhere(room):
    labels = {"alertname": "Down", "instance": "h1:9100", "type": "look_value", "code": "seen"}
    began = {"startsAt": datetime.fromtimestamp(room.story.clock.at, UTC).isoformat(), "labels": labels}
    receive(room.story.store, {"version": "4", "alerts": [{"status": "firing", **began}]})
    for _ in range(3):
        room.see(1)
    assert [(alert.rule, alert.host, alert.state.value) for alert in room.alerts] == [("alertmanager", "h1", "firing")]
    assert room.kinds == ["firing"]
    over = datetime.fromtimestamp(room.story.clock.at, UTC).isoformat()
    receive(room.story.store, {"version": "4", "alerts": [{"status": "resolved", "endsAt": over, **began}]})
    assert room.kinds == ["firing", "resolved"]


@pytest.mark.parametrize("on_missing", ["keep", "alert"])
def test_a_rule_that_is_about_fewer_hosts_ends_its_alerts_on_the_others(room, on_missing):
    room.given["rules"] = [HIGH | {"for_s": 0, "on_missing": on_missing}]
    for host in ("h1", "h2"):
        room.see(9, host)
    assert {(alert.host, alert.firing) for alert in room.alerts} == {("h1", True), ("h2", True)}
    room.given["rules"][0]["hosts"] = ["h1"]
    for _ in range(6):
        room.see(9, "h1", wait=30)
        room.see(9, "h2", wait=30)
    with room.story.store.read() as connection:
        lines = alerts.history(connection, host="h2")
    assert [(line.rule, line.kind.value, line.reason) for line in lines[:1]] == [("high", "resolved", "rule_changed")]
    assert {(alert.rule, alert.host) for alert in room.alerts if alert.firing} == {("high", "h1")}
    assert "NoData" not in {alert.rule for alert in room.alerts}


def test_a_host_that_a_rule_is_not_about_any_more_keeps_no_error_of_it(room):
    room.given["rules"] = [{"name": "wrong", "condition": "labels.rack == 'a' && value > 1", "for_s": 0}]
    room.see(9)
    with room.story.store.read() as connection:
        assert list(alerts.health(connection)) == ["wrong"]
    room.given["rules"][0]["hosts"] = ["h2"]
    room.see(9)
    with room.story.store.read() as connection:
        assert alerts.health(connection) == {}


def test_missing_numbers_are_an_alert_of_their_own(room):
    room.see(9)
    room.see(9)
    room.wait(300)
    assert {alert.rule: alert.state.value for alert in room.alerts} == {"NoData": "firing", "high": "firing"}
    assert "NoData on h1: 1 firing" in room.said
    room.see(9)
    assert {alert.rule: alert.state.value for alert in room.alerts} == {"NoData": "inactive", "high": "firing"}


def test_a_host_that_was_well_and_falls_silent_is_an_alert_where_the_rule_says_so(room):
    room.given["rules"] = [HIGH | {"on_missing": "alert", "severity": "critical"}, HIGH | {"name": "other"}]
    room.see(1)
    room.see(1)
    room.wait(60)
    assert room.alerts == []
    room.wait(60)
    assert [(alert.rule, alert.labels["nodata"], alert.severity.value) for alert in room.alerts] == [
        ("NoData", "high", "warning")
    ]
    room.wait(60)
    assert "NoData on h1: 1 firing" in room.said
    room.see(1)
    assert room.kinds == ["firing", "resolved"]


# Silences, acknowledgements, escalation


def silence(room, ends=3600, **more):
    now = room.story.clock.at
    made = new_silence(
        [parse_matchers(['host="h1"'])], starts_at=now, ends_at=now + ends, by="ann", comment="known", now=now, **more
    )
    with room.story.store.begin() as tx:
        alert_parts.add_silence(tx, made)
    return made


def test_a_silenced_alert_is_recorded_and_not_told_until_the_silence_is_over(room):
    made = silence(room)
    for _ in range(3):
        room.see(9)
    assert room.alerts[0].muted_by == (f"silence:{made.id}",)
    assert (room.kinds, room.said) == (["pending", "firing", "silenced"], [])
    alert_people.move_silence(room.story.store, made.id[:8], now=room.story.clock.at)
    for _ in range(6):
        room.see(9)
    assert room.kinds[-1] == "unmuted"
    assert room.said == ["high on h1: 1 firing"]


def night(room, **more):
    """A window that is open from five minutes ago for half an hour, every day."""
    begin, end = (
        datetime.fromtimestamp(room.story.clock.at + seconds, UTC).strftime("%H:%M") for seconds in (-300, 1500)
    )
    room.story.settings["maintenance_windows"] = {"night": {"spec": f"{begin}-{end}", **more}}


def test_a_window_keeps_alerts_quiet_only_where_it_says_so(room):
    night(room)
    for _ in range(3):
        room.see(9)
    assert (room.alerts[0].muted_by, room.said) == ((), ["high on h1: 1 firing"])


@pytest.mark.parametrize("days", [0, 3])
def test_what_fires_in_a_window_that_mutes_is_told_when_it_closes(room, days):
    night(room, mute=True, hosts=["h1"])
    room.story.clock.at += days * 86_400
    for _ in range(3):
        room.see(9)
    assert room.alerts[0].muted_by == ("window:night",)
    assert (room.kinds, room.said) == (["pending", "firing", "silenced"], [])
    for _ in range(25):
        room.see(9)
    assert room.kinds[-1] == "unmuted"
    assert room.said == ["high on h1: 1 firing"]


def test_a_window_of_other_hosts_mutes_nothing(room):
    night(room, mute=True, hosts=["h2"])
    for _ in range(3):
        room.see(9)
    assert room.said == ["high on h1: 1 firing"]


def test_a_window_that_only_mutes_lets_changes_go_at_any_time(room):
    night(room, mute=True, permit=False)
    room.story.clock.at += 7200
    assert room.story.drive(room.story.ask("set_value"))["outcome"] == "succeeded"


def test_a_window_that_permits_nothing_is_nobodys_own():
    only_quiet = {"night": {"spec": "02:00-04:00", "permit": False, "mute": True}}
    with pytest.raises(InvalidRequest, match="permit: false"):
        own_window(Settings(maintenance_windows=only_quiet), "night")


@pytest.mark.parametrize(("more", "asked"), [({"permit": False, "mute": True}, 0), ({"mute": True}, 1)])
def test_what_is_quiet_is_mended_where_a_window_lets_it_be_changed(room, more, asked):
    closed = {"spec": "00:00-00:01", "hosts": ["h1"]}  # the clock stands at 8
    night(room, **more)
    room.story.settings["maintenance_windows"]["closed"] = closed
    room.given |= {"rules": [mending(require_window=True)], "remediation": {"allowed": ["set_value"]}}
    room.see(9)
    room.see(9)
    assert (room.alerts[0].muted_by, room.said) == (("window:night",), [])
    assert len(room.operations()) == asked


def test_an_inhibited_alert_is_not_told(room):
    room.given |= {
        "rules": [HIGH, {"name": "down", "metric": "value", "threshold": 8, "for_s": 0, "severity": "critical"}],
        "inhibit": [{"source": ['rule="down"'], "target": ['rule="high"'], "equal": ["host"]}],
    }
    for _ in range(3):
        room.see(9)
    assert room.said == ["down on h1: 1 firing"]
    assert "inhibited" in room.kinds


ESCALATION = [{"after_s": 900, "channels": ["sms"]}, {"after_s": 3600, "channels": ["boss"]}]


def test_who_is_called_when_nobody_acknowledges(room):
    room.given["rules"] = [HIGH | {"for_s": 0, "escalation": ESCALATION, "interval_s": 86_400}]
    room.see(9)
    room.wait(7200)
    told = [
        (one["channels"], one["event_id"].rpartition(":")[2]) for one in room.messages if ":step:" in one["event_id"]
    ]
    assert told == [(["sms"], "0"), (["boss"], "1")]
    assert room.kinds.count("escalated") == 2


def test_an_acknowledgement_stops_it_until_it_runs_out(room):
    room.given["rules"] = [HIGH | {"for_s": 0, "escalation": ESCALATION, "interval_s": 86_400}]
    room.see(9)
    known = alert_people.ack(room.story.store, room.alerts[0].fingerprint[:12], by="ann", now=room.story.clock.at)
    assert known.acked_by == "ann"
    room.wait(4 * 3600)
    assert "escalated" not in room.kinds
    room.wait(960)
    assert room.kinds[-2:] == ["ack_expired", "escalated"]


# Two at once, and crashes


def judged(room, count=1):
    """What so many workers decide who saw the same record, of a reading each."""
    operation_id = room.story.ask("look_value")
    room.story.drive(operation_id, alerts={"built_in": False})
    world = room.world()
    found = []
    with room.story.store.read() as connection:
        operation = operations.get(connection, operation_id)
        for _ in range(count):
            given = alerting.readings(world, operation, world.targets(operation), [])
            found.append(alerting.judge(world, alerting.known(world, connection, ["h1"]), given))
    return world, found


def test_two_workers_that_judge_the_same_write_one_transition(room):
    room.given["rules"] = [HIGH | {"for_s": 0}]
    room.story.machines["h1"].value = 9
    world, decided = judged(room, 2)
    for one in decided:
        with room.story.store.begin() as tx:
            alerting.write(tx, world, one)
    assert room.kinds == ["firing"]


def test_many_workers_that_look_at_once_tell_once(room):
    room.given["rules"] = [HIGH | {"for_s": 0, "escalation": [{"after_s": 60, "channels": ["sms"]}]}]
    room.see(9)
    room.story.clock.at += 600
    together = threading.Barrier(4)
    worlds = [room.world(f"worker-{number}") for number in range(4)]

    def work(world):
        together.wait()
        look(world)

    threads = [threading.Thread(target=work, args=(world,)) for world in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [one["event_id"] for one in room.messages]
    assert len(ids) == len(set(ids))
    assert room.kinds.count("escalated") == 1


def test_of_many_ticks_one_looks(room):
    worlds = [room.world(f"worker-{number}") for number in range(3)]
    assert [tick(world) for world in worlds] == [True, False, False]
    room.story.clock.at += 4.9
    assert not tick(worlds[0]), "nor does the one who looked last"
    room.story.clock.at += 0.1
    assert [tick(world) for world in worlds].count(True) == 1


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("kept", [False, True])
def test_a_worker_that_dies_anywhere_neither_loses_nor_doubles_a_message(room, number, kept):
    """Acceptance 2: killed before or after any write of a look, a later look says what is to be said, once."""
    rule = HIGH | {"for_s": 0, "interval_s": 86_400, "escalation": [{"after_s": 120, "channels": ["sms"]}]}
    room.given["rules"] = [rule]
    room.story.machines["h1"].value = 9
    room.story.drive(room.story.ask("look_value"), alerts=room.given)
    assert room.dying(number, lambda: room.wait(900, step=10), kept=kept)
    room.wait(600)
    ids = [one["event_id"] for one in room.messages]
    assert len(ids) == len(set(ids)) == 2, room.said
    assert sorted(room.said) == ["high on h1: 1 firing", "not acknowledged: high on h1"]
    assert room.kinds == ["firing", "escalated"]


@pytest.mark.parametrize("kept", [False, True])
def test_a_worker_that_dies_in_the_analysis_leaves_one_transition(room, kept):
    room.given["rules"] = [HIGH | {"for_s": 0}]
    room.story.machines["h1"].value = 9
    operation_id = room.story.ask("look_value")
    real = room.story.store
    for number in range(1, 8):
        room.story.dying(number, kept=kept)
        room.story.drive(operation_id, alerts=room.given)
        room.story.store = real
        room.story.clock.at += 60
    room.story.drive(operation_id, alerts=room.given)
    assert room.kinds == ["firing"]
    assert room.story.show(operation_id)["stage"] == "closed"


# Mending


def mending(**more):
    return HIGH | {
        "for_s": 0,
        "actions": [{"action": "run", "type": "set_value", "parameters": {"to": 9}}],
        "remediation": {"approve": "auto", "require_window": False, "cooldown_s": 600, "verify_within_s": 120} | more,
    }


def test_a_repair_that_does_not_help_stops_at_the_cap_and_a_person_is_called(room):
    """Acceptance 6: the operation succeeds each time, and the number stays where it was."""
    room.given |= {
        "rules": [
            mending(max_per_day=3, max_per_hour=60) | {"escalation": [{"after_s": 999_999, "channels": ["pager"]}]}
        ],
        "remediation": {"allowed": ["set_value"]},
    }
    room.given["rules"][0]["interval_s"] = 600
    for _ in range(40):
        room.see(8, wait=300)
        for one in room.operations():
            room.story.drive(one.id, alerts=room.given)
    done = room.operations()
    assert len(done) == 3
    assert {one.requested_by for one in done} == {"alert:high"}
    assert {one.outcome.value for one in done} == {"succeeded"}
    assert room.kinds.count("exhausted") == 1
    called = [one for one in room.messages if one["event_id"].endswith(":exhausted")]
    assert [one["channels"] for one in called] == [["pager"]]
    assert "3 tries of high on h1 in 24 h" in called[0]["body"]


def test_a_repair_that_helps_is_known_to_have_helped(room):
    room.given |= {"rules": [mending()], "remediation": {"allowed": ["set_value"]}}
    room.given["rules"][0]["actions"][0]["parameters"] = {"to": 1}
    room.see(9)
    (one,) = room.operations()
    room.story.drive(one.id, alerts=room.given)
    assert room.story.machines["h1"].value == 1
    room.see(1)
    room.wait(60)
    assert "remediated" in room.kinds
    assert len(room.operations()) == 1


@pytest.mark.parametrize("policy", [{"max_per_hour": 1}, {"cooldown_s": 3600}, {"verify_within_s": 7200}])
def test_a_try_of_before_the_clock_was_set_back_keeps_none_from_being_made(room, policy):
    room.given |= {"rules": [mending(**policy)], "remediation": {"allowed": ["set_value"], "most_hosts": 1}}
    room.see(8)
    for one in room.operations():
        room.story.drive(one.id, alerts=room.given)
    room.wait(60)
    room.see(1)
    room.story.clock.at -= 86_400
    assert tick(room.world())
    room.wait(60)
    room.see(8, host="h2")
    assert {one.systems for one in room.operations()} == {("h1",), ("h2",)}, "no brake by it either"
    room.given["remediation"]["most_hosts"] = 9
    room.see(8)
    assert len(room.operations()) == 3


def test_a_crash_between_deciding_and_asking_asks_once(room):
    room.given |= {"rules": [mending()], "remediation": {"allowed": ["set_value"]}}
    room.story.machines["h1"].value = 9
    room.story.drive(room.story.ask("look_value"), alerts=room.given)
    died = [room.dying(number, lambda: look(room.world()), kept=True) for number in range(1, 12)]
    assert died.count(True) >= 2
    look(room.world())
    assert len(room.operations()) == 1
    assert room.kinds.count("remediation") == 1


@pytest.mark.parametrize("since_then", ["it is over", "it is not allowed any more"])
def test_what_was_decided_before_a_crash_is_not_asked_for_too_late(room, since_then):
    room.given |= {"rules": [mending()], "remediation": {"allowed": ["set_value"]}}
    room.story.machines["h1"].value = 9
    room.story.drive(room.story.ask("look_value"), alerts=room.given)
    while "remediation" not in room.kinds:  # each look dies after one write: this one before it asks
        assert room.dying(1, lambda: look(room.world()), kept=True)
    assert room.operations() == []
    if since_then == "it is over":
        room.story.clock.at += 60
        room.story.machines["h1"].value = 1
        room.story.drive(room.story.ask("look_value"), alerts=room.given)
    else:
        room.given["remediation"] = {"allowed": []}
    room.wait(6 * 3600, step=3600)
    assert room.operations() == []
    with room.story.store.read() as connection:
        assert alert_parts.running_attempts(connection) == []


def test_without_being_allowed_nothing_is_asked_for(room):
    room.given |= {"rules": [mending()]}
    room.see(9)
    room.see(9)
    assert room.operations() == []
    room.given["remediation"] = {"allowed": ["set_value"], "dry_run": True}
    room.see(9)
    assert (room.operations(), room.kinds[-1]) == ([], "remediation")


def test_a_person_is_asked_unless_it_may_go_by_itself(room):
    room.given |= {
        "rules": [mending(approve="human") | {"escalation": [{"after_s": 3600, "channels": ["pager"]}]}],
        "remediation": {"allowed": ["set_value"]},
        "routes": [{"name": "all", "channels": ["mail"]}],
    }
    room.given["rules"][0]["name"] = "it's high"
    room.see(9)
    room.see(9)
    assert room.operations() == []
    proposed = [one for one in room.messages if "propose" in one["event_id"]]
    assert [one["channels"] for one in proposed] == [["mail"]], "who hears of the alert is asked, nobody is called"
    (line,) = [line for line in proposed[0]["body"].splitlines() if "Run it: " in line]
    asked = catalogue.build("execute").parse_args(shlex.split(line.partition("Run it: opsqueue ")[2]))
    wanted = parse_request(request_of(asked))
    assert (wanted.type, wanted.target_systems, wanted.name) == ("set_value", ("h1",), "remediate it's high")
    assert (dict(wanted.parameters), wanted.timeout, wanted.priority) == ({"to": 9}, 300, "normal")


def test_a_cause_of_the_whole_fleet_is_for_a_person(room):
    room.given |= {"rules": [mending()], "remediation": {"allowed": ["set_value"], "most_hosts": 2}}
    room.given["rules"][0]["for_s"] = 60
    for _ in range(2):
        for host in ("h1", "h2", "h3"):
            room.story.machines[host].value = 9
            room.story.drive(room.story.ask("look_value", systems=(host,)), alerts=room.given)
        room.story.clock.at += 60
    look(room.world())
    look(room.world())
    assert room.operations() == []
    assert room.kinds.count("exhausted") == 3
    assert any("common cause" in one["body"] for one in room.messages)


def test_what_cannot_be_asked_for_counts_as_a_try(room):
    room.given |= {"rules": [mending(max_per_day=2, cooldown_s=0)], "remediation": {"allowed": ["set_value"]}}
    room.given["rules"][0]["actions"][0]["parameters"] = {"nothing": 1}
    for _ in range(6):
        room.see(9)
    with room.story.store.read() as connection:
        found = alert_parts.attempts(connection, "high", "h1", 0)
    assert [one.state for one in found] == ["failed", "failed"]
    assert "exhausted" in room.kinds


@pytest.mark.parametrize(
    ("more", "given", "said"),
    [
        ({}, {}, "Repair: set_value is not in alerts.remediation.allowed"),
        ({"require_window": True}, {"allowed": ["set_value"]}, "Repair: no maintenance window of h1 is open"),
        ({}, {"allowed": ["set_value"]}, None),
    ],
)
def test_people_are_told_why_no_repair_comes(room, more, given, said):
    at = datetime.fromtimestamp(room.story.clock.at, UTC)
    closed = f"{(at.hour + 6) % 24:02}:00-{(at.hour + 7) % 24:02}:00"
    room.story.settings["maintenance_windows"] = {"closed": closed}
    room.given |= {"rules": [mending(**more)], "remediation": given}
    room.see(9, wait=30)
    (body,) = [one["body"] for one in room.messages if one["title"].endswith("high on h1: 1 firing")]
    assert [line.strip() for line in body.splitlines() if "epair" in line] == ([said] if said else [])


def test_what_nothing_is_to_be_done_about_costs_no_transaction(room, monkeypatch):
    room.given |= {"rules": [mending()], "remediation": {"allowed": []}}
    for _ in range(3):
        room.see(9)
    assert [alert.state for alert in room.alerts] == ["firing"]
    writes, real = [], room.story.store.begin
    monkeypatch.setattr(room.story.store, "begin", lambda *a, **k: writes.append(1) or real(*a, **k))
    look(room.world())
    assert writes == []


def test_the_look_at_alerts_has_a_thread_of_its_own(room, monkeypatch):
    room.see(9)
    room.see(9, wait=30)
    room.see(9, wait=30)
    stopping, turns = threading.Event(), []

    def broken_once(world):
        turns.append(world)
        if len(turns) == 1:
            raise ValueError("odd")
        stopping.set()

    monkeypatch.setattr(alerter, "tick", broken_once)
    monkeypatch.setattr(alerter, "_PULSE", 0.01)
    alerter.start_looking(room.world(), stopping).join(60)
    assert len(turns) == 2, "one bad turn is not the last"

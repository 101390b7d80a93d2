"""`opsqueue notify stats`: what the record of deliveries says of each recipient."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opsqueue.kpi.deliveries import DEFINITIONS, Latency, reckon
from opsqueue.model.names import Severity
from opsqueue.model.record import Delivery, Told
from opsqueue.notify.message import Message
from opsqueue.notify.receipt import Receipt
from opsqueue.pipeline.delivered import stats_json
from opsqueue.pipeline.telling import enqueue, send_due

BUSY = Receipt(status="failed", error="busy", permanent=False)
GONE = Receipt(status="dead", error="no such address", permanent=True)
CHANNELS = {"email": "ops@example.org", "slack": "#ops", "sms": "+1555", "webhook": "http://localhost:8000/"}


@pytest.fixture
def telling(story):
    story.settings |= {"notification_channels": CHANNELS, "notification_rules": {"slack": {"fallback": ["sms"]}}}
    return story


def say(story, event, *channels, severity=Severity.WARNING):
    message = Message(title=event, body=event, payload={}, short=event, severity=severity)
    with story.store.begin() as tx:
        enqueue(tx, story.world(), message, event_id=event, channels=channels)


def pass_time(story, seconds):
    for _ in range(seconds):
        story.clock.at += 1
        send_due(story.world())


def stats(story, since=0.0):
    with story.store.read() as connection:
        found = stats_json(connection, since=since, now=story.clock.at)
    return {one["recipient"]: one for one in found["recipients"]}


def a_delivery(status="accepted", took=1.0, written=100.0, **more):
    given = {"channel": "email", "attempts": 1, **more}
    delivery = Delivery(operation_id="", event="e", status=status, at=written + took, **given)
    return Told(delivery=delivery, written=written)


# -- the figures alone


def test_of_nothing_there_are_no_figures():
    assert reckon([], since=0.0, now=9.0) == ()
    assert reckon([a_delivery(written=5.0)], since=6.0, now=9.0) == ()


def test_what_nobody_knows_is_no_zero():
    everyone, email = reckon([a_delivery("suppressed", attempts=0)], since=0.0, now=200.0)
    assert (everyone.recipient, email.recipient) == ("all", "email")
    assert (email.accepted_percent, email.settled, email.latency) == (None, 0, Latency())
    assert (email.retries, email.tried, email.oldest_waiting_s, email.last_error) == (None, 0, None, None)
    assert (email.told, email.by_status) == (1, {"suppressed": 1})


def test_the_figures_are_those_that_their_definitions_say():
    rows = [
        *(a_delivery(took=float(number)) for number in range(1, 11)),
        a_delivery(took=900.0, note="quiet hours until 07:00"),
        a_delivery(took=5.5, note="instead of slack", attempts=3),
        a_delivery("dead", attempts=8, error="old", fallback="sms"),
        a_delivery("dead", attempts=1, error="new", took=50.0),
        a_delivery("failed", attempts=2, error="between", took=20.0, written=120.0),
        a_delivery("queued", attempts=0, written=10.0),
    ]
    _all, email = reckon(rows, since=50.0, now=400.0)
    assert email == replace(_all, recipient="email")
    assert (email.told, email.by_status) == (15, {"accepted": 12, "dead": 2, "failed": 1})
    assert (email.accepted_percent, email.settled) == (pytest.approx(100 * 12 / 14), 14)
    assert email.latency == Latency(count=11, mean=pytest.approx(60.5 / 11), median=5.5, p90=9.0)
    assert (email.held, email.tried, email.retries, email.fallbacks) == (1, 15, 2 + 7 + 1, 1)
    assert (email.waiting, email.oldest_waiting_s) == (2, 390.0), "it waits, however old it is"
    assert email.last_error == "new"


def test_each_figure_that_is_told_has_a_definition():
    told = reckon([a_delivery()], since=0.0, now=1.0)[0]
    assert all(hasattr(told, name) for name in DEFINITIONS)


# -- what a record has


def test_tries_fallbacks_and_what_waits_are_those_of_the_record(telling):
    telling.receipts |= {"slack": GONE, "email": BUSY}
    say(telling, "e1", "slack", "email")
    pass_time(telling, 3)
    found = stats(telling)
    assert set(found) == {"all", "email", "slack", "sms"}
    assert (found["slack"]["by_status"], found["slack"]["fallbacks"]) == ({"dead": 1}, 1)
    assert (found["slack"]["accepted_percent"], found["slack"]["last_error"]) == (0.0, "no such address")
    sms = found["sms"]  # it is told the message, and that slack does not work
    assert (sms["accepted_percent"], sms["latency"]["count"], sms["held"]) == (100.0, 2, 0)
    assert (found["email"]["waiting"], found["email"]["oldest_waiting_s"]) == (1, 3.0)
    assert found["email"]["accepted_percent"] is None
    del telling.receipts["email"]
    pass_time(telling, 60)
    again = stats(telling)["email"]
    assert (again["accepted_percent"], again["waiting"], again["oldest_waiting_s"]) == (100.0, 0, None)
    assert again["retries"] >= 1
    assert again["latency"]["count"] == 1
    assert again["latency"]["median"] > 3
    assert stats(telling, since=telling.clock.at) == {}


def test_what_an_operation_tells_counts_from_the_end_of_its_work(telling):
    telling.settings["default_channels"] = ("email",)
    asked = telling.ask("look_value")
    telling.clock.at += 500
    while telling.raw(asked).stage != "notify":
        telling.step(asked)
    telling.clock.at += 7
    telling.drive(asked)
    email = stats(telling)["email"]
    assert (email["told"], email["accepted_percent"], email["latency"]["count"]) == (1, 100.0, 1)
    assert email["latency"]["median"] == pytest.approx(7.0, abs=1.0)


def test_what_waits_on_purpose_is_counted_apart_from_what_is_slow(telling):
    telling.settings["notification_rules"] = {"sms": {"most_per_minute": 1}}
    say(telling, "e1", "sms")
    say(telling, "e2", "sms")
    pass_time(telling, 90)
    sms = stats(telling)["sms"]
    assert (sms["told"], sms["held"], sms["latency"]["count"]) == (2, 1, 1)
    assert sms["latency"]["median"] < 10


# -- the command


def test_people_and_programs_get_the_same_figures(telling, line):
    telling.receipts["slack"] = GONE
    say(telling, "e1", "slack", "email")
    pass_time(telling, 3)
    shown = line("notify", "stats", "--since", "2020-01-01", "--output", "json").json
    assert shown["definitions"] == dict(DEFINITIONS)
    assert {one["recipient"]: one["by_status"] for one in shown["recipients"]} == {
        "all": {"accepted": 3, "dead": 1},
        "email": {"accepted": 1},
        "slack": {"dead": 1},
        "sms": {"accepted": 2},
    }
    text = line("notify", "stats", "--since", "2020-01-01").out
    assert "no such address" in text
    assert "75.0 % (of 4)" in text
    assert "accepted: accepted / (accepted + given up)" in text


def test_where_nothing_was_told_nothing_is_shown(line):
    said = line("notify", "stats")
    assert (said.status, said.out) == (0, "")
    assert "nothing was told since" in said.err
    assert line("notify", "stats", "--output", "json").json["recipients"] == []


def test_without_a_record_that_is_said(empty):
    said = empty("notify", "stats")
    assert (said.status, said.out) == (0, "")
    assert "there is no record yet" in said.err


def test_a_time_that_is_none_is_refused(line):
    assert line("notify", "stats", "--since", "soon").status == 2

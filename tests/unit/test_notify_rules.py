"""Rules of a channel: quiet hours, summaries, limits, fallback. Pure, so every case is a row."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from opsqueue.model.names import Severity
from opsqueue.model.record import Delivery
from opsqueue.notify.message import Message, with_time
from opsqueue.notify.policy import Before, content, decided, quiet_until
from opsqueue.pipeline.fallback import hops
from opsqueue.settings_channels import ChannelRules, rules_of

NOW = 1_772_971_200.0  # 2026-03-08 12:00:00Z
ROW = Delivery(operation_id="op-1", event="ended", channel="slack")
BERLIN = "Europe/Berlin"


def message(severity=Severity.WARNING, **fields):
    given = {"title": "disk full", "body": "disk full\nMore: x", "payload": {}, "short": "disk full", **fields}
    return Message(severity=severity, **given)


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def judged(rules, *, row=ROW, said=None, before=None, now=NOW):
    return decided(row, said or message(), ChannelRules(**rules), timezone="UTC", before=before or Before(), now=now)


def test_without_rules_it_is_tried_and_the_try_is_counted():
    assert (judged({}).status, judged({}).attempts) == ("sending", 1)


@pytest.mark.parametrize(
    ("rules", "now", "until"),
    [
        ({"quiet": ("22:00-07:00",)}, "2026-03-07T23:30", "2026-03-08T07:00"),
        ({"quiet": ("22:00-07:00",)}, "2026-03-08T06:59:59", "2026-03-08T07:00"),
        ({"quiet": ("22:00-07:00",)}, "2026-03-08T07:00", None),
        ({"quiet": ("22:00-07:00",)}, "2026-03-08T21:59:59", None),
        ({"quiet": ("22:00-24:00", "00:00-07:00")}, "2026-03-07T23:00", "2026-03-08T07:00"),
        ({"quiet": ("Saturday 00:00-24:00", "Sunday 00:00-24:00")}, "2026-03-07T08:00", "2026-03-09T00:00"),
    ],
)
def test_quiet_hours(rules, now, until):
    found = judged(rules, now=at(now))
    if until is None:
        assert found.status == "sending"
    else:
        assert (found.status, found.attempts, found.next_at) == ("queued", 0, at(until))
        assert f"quiet hours until {until}" in found.note


@pytest.mark.parametrize(
    ("night", "hours"),
    [("2026-03-28", 8), ("2026-03-29", 9), ("2026-10-24", 10), ("2026-06-01", 9)],
)
def test_quiet_hours_follow_the_wall_clock_when_it_is_changed(night, hours):
    """22:00 to 07:00 in Berlin is 8 h in the night of the spring change and 10 h in that of the autumn."""
    rules = ChannelRules(quiet=("22:00-07:00",), timezone=BERLIN)
    begins = at(f"{night}T22:00", BERLIN)
    assert quiet_until(rules.windows("UTC"), begins) == begins + hours * 3600


@pytest.mark.parametrize(
    ("unless", "severity", "status"),
    [
        ("critical", Severity.CRITICAL, "sending"),
        ("critical", Severity.WARNING, "queued"),
        ("warning", Severity.WARNING, "sending"),
        ("warning", Severity.INFO, "queued"),
        ("never", Severity.CRITICAL, "queued"),
    ],
)
def test_what_matters_enough_is_told_in_quiet_hours_too(unless, severity, status):
    rules = {"quiet": ("11:00-13:00",), "quiet_unless": unless}
    assert judged(rules, said=message(severity)).status == status


def test_a_retry_waits_for_the_end_of_quiet_hours_as_well_and_stays_a_retry():
    failed = Delivery(operation_id="op-1", event="ended", channel="slack", status="failed", attempts=3)
    found = judged({"quiet": ("11:00-13:00",)}, row=failed)
    assert (found.status, found.attempts, found.next_at) == ("failed", 3, NOW + 3600)


SENT = tuple(NOW - seconds for seconds in (400, 250, 200, 30, 20))


@pytest.mark.parametrize(
    ("rules", "before", "status", "wait"),
    [
        ({"digest_above": 4}, Before(sent=SENT), "summary", 300),
        ({"digest_above": 5}, Before(sent=SENT), "sending", None),
        ({"digest_above": 5, "digest_minutes": 10}, Before(sent=SENT), "summary", 600),
        ({"digest_above": 5}, Before(sent=(), summary_at=NOW + 77), "summary", 77),
        ({"most_per_minute": 2}, Before(sent=SENT), "queued", 30),
        ({"most_per_minute": 1}, Before(sent=SENT), "queued", 40),
        ({"most_per_minute": 3}, Before(sent=SENT), "sending", None),
        ({"same_within": 60}, Before(same=("op-0:ended", NOW - 9)), "suppressed", None),
    ],
)
def test_summaries_limits_and_the_same_again(rules, before, status, wait):
    found = judged(rules, before=before)
    assert found.status == status
    if wait is not None:
        assert (found.next_at, found.attempts) == (NOW + wait, 0)
        assert found.note
    if status == "suppressed":
        assert found.note == "the same as op-0:ended, told at 2026-03-08T11:59:51Z"


def test_a_retry_and_a_summary_are_never_put_into_a_summary():
    tried = Delivery(operation_id="op-1", event="ended", channel="slack", status="failed", attempts=1)
    summary = Delivery(operation_id="", event="summary:slack:1", channel="slack")
    for row in (tried, summary):
        assert judged({"digest_above": 1}, row=row, before=Before(sent=SENT)).status == "sending"


def test_quiet_hours_go_before_limits_and_what_was_told_needs_no_quiet_hours():
    both = {"quiet": ("11:00-13:00",), "digest_above": 1, "same_within": 60}
    assert judged(both, before=Before(sent=SENT)).status == "queued"
    assert judged(both, before=Before(sent=SENT, same=("e", NOW))).status == "suppressed"


def test_the_same_content_is_told_by_what_it_says():
    assert content(message()) == content(message(short="otherwise", payload={"a": 1}))
    assert content(message()) != content(message(title="disk fuller"))
    assert content(message()) != content(message(Severity.CRITICAL))
    assert content(message(alike="x")) == content(message(alike="x", title="took 3 s", body="took 3 s"))


def test_the_rules_of_a_recipient_go_before_those_of_its_channel():
    rules = {
        "email": ChannelRules(timezone=BERLIN, most_per_minute=5, fallback=("sms",)),
        "email#a@b.co": ChannelRules(most_per_minute=1),
    }
    own = rules_of(rules, "email#a@b.co")
    assert (own.most_per_minute, own.timezone, own.fallback) == (1, BERLIN, ("sms",))
    assert rules_of(rules, "email#c@b.co") == rules["email"]
    assert rules_of(rules, "slack") == ChannelRules()


def test_the_time_in_the_recipients_zone_and_in_utc():
    said = with_time(message(at=NOW), BERLIN)
    assert said.body == ("disk full\nTime: 2026-03-08T13:00:00+01:00 Europe/Berlin (2026-03-08T12:00:00Z)\nMore: x")
    assert with_time(message(at=NOW), "") == message(at=NOW)
    assert with_time(message(), BERLIN) == message()


# -- fallback


LISTS = {"slack": ("email", "sms"), "email": ("slack",), "sms": ()}
PEOPLE = {"email": ("email#a@b.co", "email#c@b.co")}


def row(channel, status="dead", **fields):
    return Delivery(operation_id="op-1", event="ended", channel=channel, status=status, **fields)


def down(*outbox):
    found = hops(
        outbox,
        lambda channel: LISTS[channel.partition("#")[0]],
        lambda name: PEOPLE.get(name, (name,)),
        NOW,
    )
    return {one.channel: (one.status, one.fallback, one.note) for one in found}


def test_what_was_given_up_goes_to_each_recipient_of_the_next_channel():
    assert down(row("slack"), row("log", "accepted")) == {
        "slack": ("dead", "email", ""),
        "email#a@b.co": ("queued", "", "instead of slack"),
        "email#c@b.co": ("queued", "", "instead of slack"),
    }


def test_it_goes_on_only_when_nobody_there_is_left():
    assert (
        down(row("slack", fallback="email"), row("email#a@b.co", fallback="slack"), row("email#c@b.co", "failed")) == {}
    )
    found = down(
        row("slack", fallback="email"), row("email#a@b.co", fallback="slack"), row("email#c@b.co", fallback="slack")
    )
    assert found == {"slack": ("dead", "sms", ""), "sms": ("queued", "", "instead of slack")}


def test_who_was_told_already_is_not_told_again():
    assert down(row("slack"), row("email#a@b.co", "accepted"), row("email#c@b.co", "accepted")) == {
        "slack": ("dead", "email", "")
    }


def test_a_circle_of_lists_ends():
    outbox = {"slack": row("slack")}
    for _ in range(20):
        found = hops(
            tuple(outbox.values()),
            lambda channel: LISTS[channel.partition("#")[0]],
            lambda name: PEOPLE.get(name, (name,)),
            NOW,
        )
        if not found:
            break
        outbox.update({one.channel: one if one.status == "dead" else row(one.channel) for one in found})
    assert not found
    assert sorted(outbox) == ["email#a@b.co", "email#c@b.co", "slack", "sms"]

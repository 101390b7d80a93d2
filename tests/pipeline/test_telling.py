"""How people are told: messages without an operation, fallbacks, quiet hours, summaries, and a channel that fails."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from opsqueue.model.names import Severity
from opsqueue.notify.message import Message
from opsqueue.notify.receipt import ACCEPTED, MOST_ATTEMPTS, Receipt, refused
from opsqueue.pipeline.control import cancel, retry
from opsqueue.pipeline.dispatch import reconcile
from opsqueue.pipeline.telling import enqueue, message_of, send_due
from opsqueue.pipeline.upkeep import upkeep
from opsqueue.pipeline.views import settled
from opsqueue.store import tellings

FAILS = Receipt(status="failed", error="busy", permanent=False)
DEAD = Receipt(status="dead", error="no such address", permanent=True)
CHANNELS = {"email": "ops@example.org", "slack": "#ops", "sms": "+1555", "webhook": "http://localhost:8000/"}


@pytest.fixture
def telling(story):
    story.settings |= {"notification_channels": CHANNELS}
    return story


def rules(story, **given):
    story.settings["notification_rules"] = given


def a_message(title="disk full", severity=Severity.WARNING, **fields):
    given = {"body": f"{title}\nmore", "payload": {"title": title}, "short": title, **fields}
    return Message(title=title, severity=severity, **given)


def say(story, event="e1", *channels, message=None, **more):
    with story.store.begin() as tx:
        return enqueue(tx, story.world(), message or a_message(), event_id=event, channels=channels, **more)


def rows(story, event="e1"):
    with story.store.read() as connection:
        return {one.channel: one for one in tellings.of(connection, event)}


def states(story, event="e1"):
    return {channel: (one.status, one.attempts) for channel, one in rows(story, event).items()}


def known(story):
    with story.store.read() as connection:
        return sorted({one.event for one in tellings.newest(connection, 99, every=True)})


def pass_time(story, seconds, step=1.0):
    """What the teller does in that time; what is due is due at a step."""
    end = story.clock.at + seconds
    while story.clock.at < end:
        story.clock.at = min(story.clock.at + step, end)
        send_due(story.world())


def once(story, operation_id):
    """Work it until people are told, and that once."""
    while story.raw(operation_id).stage != "notify":
        story.step(operation_id)
    story.step(operation_id)
    return story.show(operation_id)


def told(story, channel=None):
    return [(one, event, title) for one, event, title in story.told if channel in {None, one}]


def notes(shown):
    return {note["channel"]: (note["status"], note["attempts"]) for note in shown["notifications"]}


# -- messages without an operation


def test_a_message_is_told_to_each_channel_once_whoever_says_it_again(telling):
    assert say(telling, "e1", "email", "slack", "email")
    assert not say(telling, "e1", "sms", message=a_message("other"))
    assert send_due(telling.world()) == 2
    assert send_due(telling.world()) == 0
    assert sorted(telling.told) == [("email", "e1:email", "disk full"), ("slack", "e1:slack", "disk full")]
    assert states(telling) == {"email": ("accepted", 1), "slack": ("accepted", 1)}


def test_what_is_written_is_told_as_it_was_said(telling):
    message = a_message("Zürich \u4f60\u597d", Severity.CRITICAL, at=5.5, alike="same")
    say(telling, "e1", "email", message=message)
    with telling.store.read() as connection:
        assert message_of(connection, "e1") == message


def test_without_channels_the_default_ones_are_told_and_not_before_it_is_time(telling):
    telling.settings["default_channels"] = ("slack",)
    say(telling, at=telling.clock.at + 100)
    assert send_due(telling.world()) == 0
    pass_time(telling, 100)
    assert told(telling) == [("slack", "e1:slack", "disk full")]


def test_a_cause_that_is_taken_back_takes_its_message_with_it(telling):
    with pytest.raises(ZeroDivisionError), telling.store.begin() as tx:
        enqueue(tx, telling.world(), a_message(), event_id=f"e{1 / 0}", channels=["email"])
    assert known(telling) == []


def test_what_fails_is_tried_again_later_and_later_then_given_up(telling):
    telling.receipts["email"] = FAILS
    say(telling, "e1", "email", "slack")
    pass_time(telling, 3 * 3600, step=5)
    assert states(telling) == {"email": ("dead", MOST_ATTEMPTS), "slack": ("accepted", 1)}
    assert Counter(channel for channel, *_ in told(telling))["email"] == MOST_ATTEMPTS
    assert {event for _, event, _ in told(telling, "email")} == {"e1:email"}
    assert rows(telling)["email"].error == "busy"


def test_a_receiver_that_says_when_to_come_again_is_left_alone_until_then(telling):
    telling.receipts["email"] = refused("503", wait=1800)
    say(telling, "e1", "email")
    pass_time(telling, 1790, step=5)
    assert states(telling) == {"email": ("failed", 1)}
    telling.receipts["email"] = ACCEPTED
    pass_time(telling, 20, step=5)
    assert states(telling) == {"email": ("accepted", 2)}


def test_of_two_workers_one_tells(telling):
    say(telling, "e1", "email")
    assert send_due(telling.world("one")) == 1
    say(telling, "e2", "email")
    assert send_due(telling.world("two")) == 0  # the first has the lease for some seconds
    telling.clock.at += 6
    assert send_due(telling.world("two")) == 1
    assert len(told(telling)) == 2


@pytest.mark.parametrize("at", range(1, 9))
def test_who_dies_at_any_write_loses_nothing_and_doubles_only_what_it_did_not_write_down(telling, at, stories):
    """Before the try is written nothing was sent; after it the same event is sent once more at most."""
    del stories
    rules(telling, slack={"fallback": ["sms"]})
    telling.receipts["slack"] = DEAD
    say(telling, "e1", "email", "slack")
    whole = telling.store
    record = telling.dying(at)
    try:
        pass_time(telling, 3)
    except BaseException as crash:  # noqa: BLE001 - the story's own crash, of which nothing may be left
        assert type(crash).__name__ == "Crash"  # noqa: PT017 - its class is that of the story
    telling.store = whole
    pass_time(telling, 200, step=5)
    assert record.writes >= min(at, 1)
    assert states(telling)["email"][0] == "accepted"
    assert states(telling)["sms"][0] == "accepted"
    assert states(telling)["slack"][0] == "dead"
    counted = Counter(event for _, event, _ in told(telling))
    assert counted["e1:email"] <= 2
    assert counted["e1:sms"] <= 2
    assert sum(counted[key] - 1 for key in ("e1:email", "e1:sms", "e1:slack")) <= 1


def test_messages_are_forgotten_with_the_history(telling):
    say(telling, "e1", "email")
    say(telling, "e2", "email", at=telling.clock.at + 9e9)
    send_due(telling.world())
    telling.clock.at += 400 * 86_400
    upkeep(telling.world())
    assert known(telling) == ["e2"]


# -- a channel that does not work


def test_that_a_channel_does_not_work_is_told_on_another_once_until_it_works_again(telling):
    telling.settings["default_channels"] = ("slack", "email")
    telling.receipts["slack"] = DEAD
    for number in range(3):
        say(telling, f"e{number}", "slack")
    pass_time(telling, 30)
    assert [title for _, _, title in told(telling, "email")] == ["[opsqueue] the channel slack does not work"]
    assert known(telling) == ["channel-failed:slack:0", "e0", "e1", "e2"]
    del telling.receipts["slack"]
    say(telling, "works", "slack")
    pass_time(telling, 30)
    telling.receipts["slack"] = DEAD
    say(telling, "e4", "slack")
    pass_time(telling, 30)
    assert len(told(telling, "email")) == 2


def test_that_no_channel_works_goes_round_no_circle(telling):
    telling.settings["default_channels"] = ("slack", "email")
    telling.receipts |= {"slack": DEAD, "email": DEAD}
    say(telling, "e1", "slack")
    pass_time(telling, 60)
    assert known(telling) == ["channel-failed:slack:0", "e1"]
    assert len(told(telling)) == 2


def test_where_there_is_no_other_channel_it_stands_in_the_log(telling):
    telling.settings["default_channels"] = ("email",)
    telling.receipts["email"] = DEAD
    say(telling, "e1", "email")
    pass_time(telling, 9)
    assert [title for _, _, title in told(telling, "log")] == ["[opsqueue] the channel email does not work"]


# -- fallback


def test_what_is_given_up_goes_down_the_list_and_each_hop_is_recorded(telling):
    rules(telling, slack={"fallback": ["email", "sms"]})
    telling.receipts |= {"slack": DEAD, "email": DEAD}
    say(telling, "e1", "slack")
    pass_time(telling, 30)
    assert states(telling) == {"slack": ("dead", 1), "email": ("dead", 1), "sms": ("accepted", 1)}
    found = rows(telling)
    assert (found["slack"].fallback, found["email"].fallback) == ("sms", "sms")
    assert found["sms"].note == "instead of slack"
    assert [event for channel, event, _ in told(telling) if channel == "sms"] == ["e1:sms"]


def test_an_operation_whose_channel_is_given_up_closes_when_its_fallback_was_told(telling):
    rules(telling, slack={"fallback": ["email"]})
    telling.receipts["slack"] = DEAD
    shown = telling.drive(telling.ask(notification_channels=["slack", "log"]))
    assert (shown["stage"], shown["outcome"]) == ("closed", "succeeded")
    assert notes(shown) == {"slack": ("dead", 1), "email": ("accepted", 1), "log": ("accepted", 1)}
    assert shown["stages"][-1]["why"] == "told: slack (given up, email instead), log, email"


def test_an_operation_closes_when_the_last_of_several_fallbacks_was_told(telling):
    rules(telling, slack={"fallback": ["email", "sms", "webhook"]})
    telling.receipts |= {"slack": DEAD, "email": DEAD, "sms": DEAD}
    shown = telling.drive(telling.ask(notification_channels=["slack"]))
    assert notes(shown) == {**dict.fromkeys(("slack", "email", "sms"), ("dead", 1)), "webhook": ("accepted", 1)}
    assert shown["stage"] == "closed"


def test_an_operation_stays_open_when_the_fallback_fails_too_and_a_person_says_that_they_know(telling):
    rules(telling, slack={"fallback": ["email"]}, email={"fallback": ["slack"]})
    telling.receipts |= {"slack": DEAD, "email": DEAD}
    operation_id = telling.ask(notification_channels=["slack"])
    shown = telling.drive(operation_id)
    assert (shown["stage"], shown["due_at"], notes(shown)) == (
        "notify",
        None,
        {"slack": ("dead", 1), "email": ("dead", 1)},
    )
    del telling.receipts["email"]
    retry(telling.world(), operation_id, actor="ann", reason="")
    shown = telling.drive(operation_id)
    assert (shown["stage"], notes(shown)["email"]) == ("closed", ("accepted", 1))


@pytest.mark.parametrize("given", [{}, {"most_per_minute": 1}])
def test_an_operation_is_told_though_the_clock_is_set_back_between_two_tries(telling, given):
    rules(telling, slack=given)
    telling.receipts["slack"] = refused("503")
    say(telling, "before", "slack")
    pass_time(telling, 1)
    operation_id = telling.ask(notification_channels=["slack"])
    once(telling, operation_id)
    del telling.receipts["slack"]
    telling.clock.at -= 7200
    reconcile(telling.world())
    pass_time(telling, 300, step=30)
    assert telling.drive(operation_id)["status"] == "succeeded"
    assert telling.raw(operation_id).stage == "closed"
    assert telling.clock.at < telling.raw(operation_id).created_at, "the old time has not come again"


def test_the_failure_of_an_operations_channel_is_told_too(telling):
    telling.settings["default_channels"] = ("sms",)
    telling.receipts["slack"] = DEAD
    telling.drive(telling.ask(notification_channels=["slack"]))
    pass_time(telling, 5)
    assert [title for _, _, title in told(telling, "sms")] == ["[opsqueue] the channel slack does not work"]


# -- quiet hours


def quiet_now(story, hours=2, **more):
    """Quiet hours that began a moment ago, by the story's clock."""
    start = int(story.clock.at // 60 % 1440)
    spans = [start - 1, (start + hours * 60) % 1440]
    texts = [f"{minute % 1440 // 60:02}:{minute % 60:02}" for minute in spans]
    return {"quiet": ["-".join(texts)], **more}


def test_in_quiet_hours_a_message_waits_and_is_told_when_they_end(telling):
    rules(telling, slack=quiet_now(telling))
    say(telling, "e1", "slack", "email")
    say(telling, "e2", "slack", message=a_message("house on fire", Severity.CRITICAL))
    pass_time(telling, 60)
    assert states(telling) == {"slack": ("queued", 0), "email": ("accepted", 1)}
    assert rows(telling)["slack"].note.startswith("quiet hours until ")
    assert states(telling, "e2") == {"slack": ("accepted", 1)}
    pass_time(telling, 2 * 3600, step=60)
    assert states(telling)["slack"] == ("accepted", 1)
    assert len(told(telling, "slack")) == 2


def test_an_operation_in_quiet_hours_is_open_but_keeps_nobody_waiting(telling):
    rules(telling, slack=quiet_now(telling))
    operation_id = telling.ask(notification_channels=["slack"])
    shown = telling.drive(operation_id)
    assert (shown["stage"], shown["waits_for"], shown["outcome"]) == ("notify", ["delivery"], "succeeded")
    assert settled(shown)
    assert told(telling) == []
    telling.clock.at = telling.raw(operation_id).due_at
    shown = telling.drive(operation_id)
    assert (shown["stage"], notes(shown)) == ("closed", {"slack": ("accepted", 1)})


# -- summaries, limits, the same again


def test_more_than_so_many_messages_are_told_in_one_that_names_them_all(telling):
    rules(telling, slack={"digest_above": 2})
    for number in range(6):
        severity = Severity.CRITICAL if number == 4 else Severity.WARNING
        say(telling, f"e{number}", "slack", message=a_message(f"disk {number} full", severity))
    pass_time(telling, 20)
    assert len(told(telling)) == 2
    assert {states(telling, f"e{number}")["slack"] for number in range(2, 6)} == {("summary", 0)}
    pass_time(telling, 320, step=5)
    titles = [title for _, _, title in told(telling)]
    assert titles[2:] == ["[opsqueue] 4 messages: 1 critical, 3 warning"]
    [summary] = [event for event in known(telling) if event.startswith("summary:slack:")]
    with telling.store.read() as connection:
        message = message_of(connection, summary)
    assert message.severity is Severity.CRITICAL
    assert message.body.split("\n")[1:5] == [
        "- critical: disk 4 full",
        "- warning: disk 2 full",
        "- warning: disk 3 full",
        "- warning: disk 5 full",
    ]
    assert [one["event_id"] for one in message.payload["messages"]] == ["e4", "e2", "e3", "e5"]
    found = rows(telling, "e4")["slack"]
    assert (found.status, found.attempts, found.summary) == ("accepted", 1, summary)
    assert found.note == "told in one summary with 3 others"


def test_operations_and_messages_come_in_the_same_summary_and_the_operations_close_with_it(telling):
    rules(telling, slack={"digest_above": 1})
    say(telling, "first", "slack")
    pass_time(telling, 5)
    ids = [telling.ask(systems=[host], notification_channels=["slack"]) for host in ("h1", "h2")]
    shown = [once(telling, one) for one in ids]
    assert {one["stage"] for one in shown} == {"notify"}
    assert all(settled(one) for one in shown)
    say(telling, "e1", "slack")
    pass_time(telling, 320, step=5)
    assert [title for _, _, title in told(telling)] == ["disk full", "[opsqueue] 3 messages: 1 warning, 2 info"]
    for one in ids:
        assert telling.raw(one).due_at <= telling.clock.at, "nobody woke it"
        shown = telling.drive(one)
        assert (shown["stage"], notes(shown)) == ("closed", {"slack": ("accepted", 1)})


def test_a_summary_that_cannot_be_told_goes_down_the_fallback_with_all_that_it_names(telling):
    rules(telling, slack={"digest_above": 1, "fallback": ["email"]})
    say(telling, "first", "slack")
    pass_time(telling, 5)
    telling.receipts["slack"] = DEAD
    for number in range(3):
        say(telling, f"e{number}", "slack")
    pass_time(telling, 320, step=5)
    assert "[opsqueue] 3 messages: 3 warning" in {title for _, _, title in told(telling, "email")}
    for number in range(3):
        assert states(telling, f"e{number}") == {"slack": ("dead", 1), "email": ("accepted", 1)}
        found = rows(telling, f"e{number}")
        assert (found["slack"].fallback, found["slack"].error) == ("email", "no such address")
        assert found["slack"].note == "was to be told in one summary with 2 others"
        assert found["email"].note == "told in one summary with 2 others, instead of slack"


def test_an_operation_in_a_summary_that_went_down_says_so_and_closes(telling):
    rules(telling, slack={"digest_above": 1, "fallback": ["sms", "email"]})
    say(telling, "first", "slack")
    pass_time(telling, 5)
    telling.receipts |= {"slack": DEAD, "sms": DEAD}
    ids = [telling.ask(systems=[host], notification_channels=["slack"]) for host in ("h1", "h2")]
    for one in ids:
        once(telling, one)
    pass_time(telling, 360, step=5)
    wanted = {"slack": ("dead", 1), "sms": ("dead", 1), "email": ("accepted", 1)}
    for one in ids:
        shown = telling.drive(one)
        assert (shown["stage"], notes(shown)) == ("closed", wanted)
        assert "slack (given up, email instead)" in shown["stages"][-1]["why"]
    assert len(told(telling, "email")) == 1, "it was told alone too, beside the summary"


def test_a_part_waits_until_each_fallback_of_its_summary_is_over_and_keeps_what_it_had_there(telling, monkeypatch):
    made, two = telling.world, ("email#ann@example.org", "email#bob@example.org")
    split = lambda name: two if name == "email" else (name,)  # noqa: E731 - said once
    monkeypatch.setattr(telling, "world", lambda *given: replace(made(*given), recipients=split))
    rules(telling, slack={"digest_above": 1, "fallback": ["email"]})
    say(telling, "first", "slack")
    pass_time(telling, 5)
    telling.receipts |= {"slack": DEAD, "email#bob@example.org": FAILS}
    say(telling, "e1", "slack", "email#ann@example.org")
    say(telling, "e2", "slack")
    pass_time(telling, 305)
    assert states(telling, "e2") == {"slack": ("summary", 0)}
    del telling.receipts["email#bob@example.org"]
    pass_time(telling, 30)
    assert {one: state for one, (state, _) in states(telling, "e2").items()} == {
        "slack": "dead",
        "email#ann@example.org": "accepted",
        "email#bob@example.org": "accepted",
    }
    assert rows(telling)["email#ann@example.org"].note == "", "it was told there alone"


def test_a_summary_that_says_the_same_as_the_one_before_is_over_for_its_parts_too(telling):
    rules(telling, slack={"digest_above": 1, "digest_minutes": 1, "same_within": 3600})
    say(telling, "first", "slack", message=a_message("begin"))
    pass_time(telling, 5)
    for turn in range(2):
        for number in range(2):
            say(telling, f"e{turn}{number}", "slack", message=a_message(alike=f"{turn}{number}"))
            say(telling, f"f{turn}{number}", "slack", message=a_message(alike=f"f{turn}{number}"))
            pass_time(telling, 2)
        pass_time(telling, 70, step=5)
    assert states(telling, "e00")["slack"] == ("accepted", 1)
    found = rows(telling, "e11")["slack"]
    assert (found.status, found.attempts) == ("suppressed", 0)
    assert found.note.startswith("the same as summary:slack:")


def test_the_parts_of_a_summary_that_is_told_again_by_hand_are_told_with_it(telling):
    rules(telling, slack={"digest_above": 1})
    say(telling, "first", "slack")
    pass_time(telling, 5)
    telling.receipts["slack"] = DEAD
    operation_id = telling.ask(notification_channels=["slack"])
    once(telling, operation_id)
    say(telling, "e1", "slack")
    pass_time(telling, 320, step=5)
    assert telling.drive(operation_id)["stage"] == "notify"
    del telling.receipts["slack"]
    [summary] = [event for event in known(telling) if event.startswith("summary:slack:")]
    with telling.store.begin() as tx:
        assert tellings.revive(tx, summary, telling.clock.at) == ["slack"]
    pass_time(telling, 9)
    assert (states(telling)["slack"][0], rows(telling)["slack"].error) == ("accepted", "")
    assert telling.drive(operation_id)["stage"] == "closed"


def test_a_summary_that_nobody_took_leaves_its_members_given_up(telling):
    rules(telling, slack={"digest_above": 1})
    say(telling, "first", "slack")
    pass_time(telling, 5)
    telling.receipts["slack"] = DEAD
    operation_id = telling.ask(notification_channels=["slack"])
    once(telling, operation_id)
    say(telling, "e1", "slack")
    pass_time(telling, 320, step=5)
    assert states(telling)["slack"][0] == "dead"
    shown = telling.drive(operation_id)
    assert (shown["stage"], shown["due_at"], notes(shown)["slack"][0]) == ("notify", None, "dead")
    cancel(telling.world(), operation_id, actor="ann", reason="told by phone")
    assert telling.drive(operation_id)["stage"] == "closed"


def test_what_comes_alone_after_all_is_told_alone(telling):
    rules(telling, slack={"digest_above": 1})
    say(telling, "first", "slack")
    pass_time(telling, 5)
    say(telling, "e1", "slack")
    pass_time(telling, 320, step=5)
    assert [title for _, _, title in told(telling)] == ["disk full", "disk full"]
    assert states(telling)["slack"] == ("accepted", 1)


@pytest.mark.parametrize("at", range(1, 12))
def test_who_dies_at_any_write_of_a_summary_tells_it_all_the_same(telling, at):
    rules(telling, slack={"digest_above": 1})
    say(telling, "first", "slack")
    pass_time(telling, 5)
    for number in range(3):
        say(telling, f"e{number}", "slack")
    pass_time(telling, 5)
    telling.clock.at += 300
    whole = telling.store
    telling.dying(at)
    try:
        pass_time(telling, 3)
    except BaseException as crash:  # noqa: BLE001 - the story's own crash, of which nothing may be left
        assert type(crash).__name__ == "Crash"  # noqa: PT017 - its class is that of the story
    telling.store = whole
    pass_time(telling, 200, step=5)
    assert {states(telling, f"e{number}")["slack"] for number in range(3)} == {("accepted", 1)}
    assert len([event for event in known(telling) if event.startswith("summary:")]) == 1
    assert len(told(telling)) - 1 in {1, 2}


def test_at_most_so_many_a_minute(telling):
    rules(telling, slack={"most_per_minute": 3})
    for number in range(10):
        say(telling, f"e{number}", "slack", message=a_message(f"disk {number} full"))
    counts = []
    for _ in range(4):
        before = len(told(telling))
        pass_time(telling, 60)
        counts.append(len(told(telling)) - before)
    assert counts == [3, 3, 3, 1]


@pytest.mark.parametrize("given", [{"most_per_minute": 3}, {"same_within": 600}, {"digest_above": 3}])
def test_what_was_sent_before_the_clock_was_set_back_holds_nothing_up(telling, given):
    rules(telling, slack=given)
    for number in range(3):
        say(telling, f"e{number}", "slack", message=a_message(f"disk {number} full"))
    pass_time(telling, 9)
    telling.clock.at -= 7200
    say(telling, "again", "slack", message=a_message("disk 0 full"))
    pass_time(telling, 9)
    assert states(telling, "again")["slack"] == ("accepted", 1), rows(telling, "again")["slack"].note


def test_the_same_content_is_told_once_in_a_while(telling):
    rules(telling, slack={"same_within": 600})
    for number in range(3):
        say(telling, f"e{number}", "slack", "email")
        pass_time(telling, 60, step=5)
    assert len(told(telling, "slack")) == 1
    assert len(told(telling, "email")) == 3
    assert states(telling, "e2")["slack"] == ("suppressed", 0)
    assert rows(telling, "e2")["slack"].note.startswith("the same as e0, told at ")
    pass_time(telling, 600, step=60)
    say(telling, "e9", "slack")
    pass_time(telling, 9)
    assert len(told(telling, "slack")) == 2


def test_two_operations_that_end_alike_are_told_once_and_both_close(telling):
    rules(telling, slack={"same_within": 600})
    ids = [telling.ask(type="look_value", notification_channels=["slack"]) for _ in range(2)]
    shown = [telling.drive(one) for one in ids]
    assert [one["stage"] for one in shown] == ["closed", "closed"]
    assert [notes(one)["slack"] for one in shown] == [("accepted", 1), ("suppressed", 0)]


# -- an operation's own deliveries


@pytest.mark.parametrize("at", range(1, 40))
def test_a_crash_with_one_channel_does_not_have_the_others_told_again(telling, at):
    """What was accepted is written down before the next channel is told: at most one of them is told twice."""
    operation_id = telling.ask(notification_channels=["email", "slack", "webhook"])
    whole = telling.store
    record = telling.dying(at, kept=bool(at % 2))
    shown = telling.drive(operation_id)
    telling.store = whole
    if record.writes >= at:
        telling.clock.at += 60
        shown = telling.drive(operation_id)
    counted = Counter(event for _, event, _ in told(telling))
    assert shown["stage"] == "closed"
    assert set(counted) == {f"{operation_id}:ended:{name}" for name in ("email", "slack", "webhook")}
    assert sum(counted.values()) <= 4

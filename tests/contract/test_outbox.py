"""The outbox of what belongs to no operation, on SQLite and on PostgreSQL: once, whoever writes it at the same time."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from opsqueue.model.names import OperationPriority, Severity
from opsqueue.model.record import Delivery, Operation
from opsqueue.notify.message import Message
from opsqueue.notify.receipt import Receipt
from opsqueue.pipeline.breaker import guarded
from opsqueue.pipeline.telling import enqueue, send_due
from opsqueue.store import deliveries, operations, sends, tellings

AT = 1_800_000_000.0
ODD = "quotes ' \" % _ \\ Zürich 日本 🚀 \x00 \ud83d"


def a_message(event="e1", **fields):
    given = {"title": "t", "body": "b", "short": "s", "severity": "warning", "payload": {"a": [1, ODD]}, "alike": ""}
    return {"event": event, **given, "at": AT, "created_at": AT, **fields}


def row(channel="email", event="e1", **fields):
    return Delivery(operation_id="", event=event, channel=channel, next_at=AT, **fields)


def add(store, message=None, *rows):
    with store.begin() as tx:
        return tellings.add(tx, message or a_message(), rows or (row(),))


def of(store, event="e1"):
    with store.read() as connection:
        return tellings.of(connection, event)


def due(store, now, limit=100):
    with store.read() as connection:
        who = tellings.due_recipients(connection, now)
        return [(one.event, one.channel) for name in who for one in tellings.due(connection, name, now, limit)]


def at_once(number, work):
    together, answers = threading.Barrier(number), []

    def run(index):
        together.wait()
        answers.append(work(index))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_a_message_and_whom_it_is_for_come_back_as_they_were_written(store):
    told = row(note="instead of slack", fallback="sms", error="busy", summary="", status="failed", attempts=3, at=AT)
    assert add(store, a_message(title=ODD), told)
    assert of(store) == (told,)
    with store.read() as connection:
        kept = tellings.message(connection, "e1")
    assert (kept["title"], kept["severity"]) == (ODD.replace("\x00", "\\x00").replace("\ud83d", "\\ud83d"), "warning")
    assert kept["payload"]["a"][0] == 1


def test_messages_are_found_by_whom_they_name(store):
    add(store, a_message("alerts:g:1", payload={"alerts": [{"incident": "i-1"}]}), row(event="alerts:g:1"))
    add(
        store,
        a_message("alerts:i-1:step:0", created_at=AT + 60, title="late", payload={}),
        row(event="alerts:i-1:step:0"),
    )
    add(store, a_message("alerts:g:2", payload={"alerts": [{"incident": "i-2"}]}), row(event="alerts:g:2"))
    add(store, a_message("summary:1", payload={"of": "i-1"}), row(event="summary:1"))
    with store.read() as connection:
        found = tellings.naming(connection, "alerts:", "i-1", AT, 9)
        assert [(one["event"], one["title"]) for one in found] == [("alerts:i-1:step:0", "late"), ("alerts:g:1", "t")]
        assert len(tellings.naming(connection, "alerts:", "i-1", AT + 1, 9)) == 1, "named by its event"
        assert tellings.naming(connection, "alerts:", "%", AT, 9) == []


def test_an_event_is_put_out_once_whatever_is_said_the_second_time(store):
    assert add(store)
    assert not add(store, a_message(title="other"), row("slack"))
    assert [one.channel for one in of(store)] == ["email"]


def test_an_event_is_put_out_once_by_many(store):
    answers = at_once(8, lambda index: add(store, a_message(), row(f"channel-{index}")))
    assert sorted(answers) == [False] * 7 + [True]
    assert len(of(store)) == 1


def test_a_transaction_that_fails_leaves_neither_message_nor_recipient(store):
    def half(tx):
        tellings.add(tx, a_message(), [row()])
        tx.execute(text("INSERT INTO leases (name) VALUES ('half')"))

    with pytest.raises(IntegrityError), store.begin() as tx:
        half(tx)
    assert of(store) == ()
    assert add(store)


def test_a_recipient_without_a_message_is_refused(store):
    with pytest.raises(IntegrityError), store.begin() as tx:
        tellings.lead_down(tx, row(event="nothing"))


def test_what_is_due_comes_by_recipient_and_what_is_settled_never(store):
    states = ("queued", "sending", "failed", "accepted", "dead", "suppressed", "acknowledged", "summary")
    add(store, None, *(replace(row(state), status=state, next_at=AT - len(state)) for state in states))
    assert [channel for _, channel in due(store, AT)] == ["failed", "queued", "sending"]
    assert due(store, AT - 7) == [("e1", "sending")]
    with store.read() as connection:
        assert tellings.due_soon(connection, AT)
        assert not tellings.due_soon(connection, AT - 8)


def test_a_recipient_is_told_what_is_longest_due_first(store):
    for number in (3, 1, 2):
        add(store, a_message(f"e{number}"), replace(row(event=f"e{number}"), next_at=AT + number))
    assert [event for event, _ in due(store, AT + 3)] == ["e1", "e2", "e3"]
    assert [event for event, _ in due(store, AT + 3, limit=2)] == ["e1", "e2"]
    assert due(store, AT) == []


def test_of_many_who_try_one_writes(store):
    add(store)
    attempt = replace(row(), status="sending", attempts=1)

    def take(_index):
        with store.begin() as tx:
            return tellings.save(tx, attempt, seen=0)

    assert sorted(at_once(8, take)) == [False] * 7 + [True]
    with store.begin() as tx:  # who saw it before is too late, whatever the answer was
        assert not tellings.save(tx, replace(attempt, status="dead"), seen=0)
    assert of(store) == (attempt,)


def test_leading_down_adds_a_recipient_or_says_where_it_went(store):
    add(store, None, row("slack", status="dead", attempts=2), row("email", status="accepted", attempts=1))
    with store.begin() as tx:
        tellings.lead_down(tx, row("slack", status="dead", fallback="sms"))
        tellings.lead_down(tx, row("sms", note="instead of slack"))
        tellings.lead_down(tx, row("email", note="instead of slack"))
    assert {one.channel: (one.status, one.fallback, one.attempts) for one in of(store)} == {
        "slack": ("dead", "sms", 2),
        "sms": ("queued", "", 0),
        "email": ("accepted", "", 1),
    }


def test_a_summary_gathers_from_operations_and_from_messages(store):
    operation = Operation(id="op-1", name="n", type="t", priority=OperationPriority.NORMAL, created_at=AT)
    waits = {"status": "summary"}
    with store.begin() as tx:
        operations.create(tx, operation, "digest")
        deliveries.save(tx, replace(row(event="ended", **waits), operation_id="op-1", next_at=AT + 1))
    add(store, a_message(), row(**waits), row("slack", **waits))
    with store.begin() as tx:
        assert tellings.summary_due(tx, "email") == AT
        assert tellings.summary_due(tx, "sms") is None
        assert tellings.summaries_due(tx, AT) == ("email", "slack")
        both = tellings.gathered(tx, "email")
        assert [(one.operation_id, one.event) for one in both] == [("", "e1"), ("op-1", "ended")]
        for one in both:
            tellings.put_back(tx, replace(one, summary="summary:email:1"))
        assert tellings.gathered(tx, "email") == ()
        assert tellings.summary_due(tx, "email") is None
        for one in tellings.gathered(tx, summary="summary:email:1"):
            tellings.put_back(tx, replace(one, status="accepted", at=AT))
        assert tellings.gathered(tx, summary="summary:email:1") == ()
        assert [one.status for one in deliveries.of(tx, "op-1")] == ["accepted"]
        for one in both:  # settled meanwhile: nobody takes that back
            tellings.put_back(tx, replace(one, status="dead"))
        assert [one.status for one in deliveries.of(tx, "op-1")] == ["accepted"]


def test_who_is_told_a_summary_in_place_of_another_is_written_down_unless_it_was_told_already(store):
    operation = Operation(id="op-1", name="n", type="t", priority=OperationPriority.NORMAL, created_at=AT)
    hop = row("sms", status="accepted", attempts=1, summary="summary:slack:1")
    add(store, None, row("email", status="accepted", note="alone"), row("sms", status="dead", error="gone"))
    with store.begin() as tx:
        operations.create(tx, operation, "digest")
        for operation_id in ("", "op-1"):
            tellings.stand_in(tx, replace(hop, operation_id=operation_id))
            tellings.stand_in(tx, replace(hop, operation_id=operation_id, status="dead", error="busy"))
        tellings.stand_in(tx, replace(hop, channel="email"))
        [written] = deliveries.of(tx, "op-1")
    assert {one.channel: (one.status, one.error, one.note, one.summary) for one in of(store)} == {
        "email": ("accepted", "", "alone", ""),
        "sms": ("accepted", "", "", "summary:slack:1"),
    }
    assert written == replace(hop, operation_id="op-1")


def test_the_parts_of_a_summary_that_is_tried_again_wait_for_it_again(store):
    operation = Operation(id="op-1", name="n", type="t", priority=OperationPriority.NORMAL, created_at=AT)
    summary = "summary:slack:1"
    with store.begin() as tx:
        operations.create(tx, operation, "digest")
        part = replace(row("slack", event="ended", status="dead", summary=summary), operation_id="op-1")
        deliveries.save(tx, part)
        deliveries.save(tx, replace(part, channel="email", status="accepted"))
        deliveries.save(tx, replace(part, channel="sms", summary=""))
    add(store, None, row("slack", status="dead", summary=summary), row("email", status="dead", summary=summary))
    add(store, a_message(summary), row("slack", event=summary, status="dead"))
    with store.begin() as tx:
        assert tellings.revive(tx, summary, AT + 9) == ["slack"]
        waits = tellings.gathered(tx, summary=summary)
    assert [(one.operation_id, one.event, one.channel, one.next_at) for one in waits] == [
        ("", "e1", "slack", AT + 9),
        ("op-1", "ended", "slack", AT + 9),
    ]


def test_what_was_given_up_is_tried_again_from_the_beginning(store):
    add(store, None, row("email", status="dead", attempts=8), row("slack", status="accepted", attempts=1))
    with store.begin() as tx:
        assert tellings.revive(tx, "e1", AT + 9) == ["email"]
        assert tellings.revive(tx, "e1", AT + 9) == []
    assert due(store, AT + 9) == [("e1", "email")]
    assert [(one.status, one.attempts) for one in of(store)] == [("queued", 0), ("accepted", 1)]


def test_what_waits_or_was_given_up_is_listed_newest_first(store):
    add(store, a_message("e1"), row(status="dead"))
    add(store, a_message("e2", created_at=AT + 1), row(event="e2"), row("slack", event="e2", status="accepted"))
    with store.read() as connection:
        assert [one.event for one in tellings.newest(connection, 9, every=False)] == ["e2", "e1"]
        titled = tellings.titled(connection, 9, every=False)
        assert [(one.event, title, written) for one, title, written in titled] == [("e2", "t", AT + 1), ("e1", "t", AT)]
        assert len(tellings.newest(connection, 9, every=True)) == 3
        assert len(tellings.newest(connection, 1, every=True)) == 1


def test_messages_are_forgotten_by_age_and_none_that_somebody_is_still_to_hear(store):
    for number in range(3):
        add(store, a_message(f"old-{number}"), row(event=f"old-{number}", status="accepted"))
    add(store, a_message("waits"), row(event="waits", status="accepted"), row("slack", event="waits", status="summary"))
    add(store, a_message("new", created_at=AT + 50), row(event="new", status="accepted"))
    with store.begin() as tx:
        assert [tellings.prune(tx, AT + 50, limit=2) for _ in range(3)] == [2, 1, 0]
    assert of(store, "old-1") == ()
    assert len(of(store, "waits")) == 2
    assert len(of(store, "new")) == 1


def test_what_was_sent_is_counted_by_recipient(store):
    with store.begin() as tx:
        sends.lock(tx, "email")
        for number in range(3):
            sends.note(tx, "email", f"e{number}", at=AT + number, content="same")
        sends.note(tx, "slack", "e0", at=AT, content="same")
        assert sends.since(tx, "email", AT, until=AT + 9, besides="e2") == (AT + 1,)
        assert sends.same(tx, "email", "same", AT - 1, until=AT + 9, besides="e2") is None
        assert sends.last_accepted(tx, "email") == 0.0
        sends.accepted(tx, "email", "e0", at=AT + 5)
        assert sends.same(tx, "email", "same", AT - 1, until=AT + 9, besides="e2") == ("e0", AT + 5)
        assert sends.same(tx, "email", "same", AT - 1, until=AT + 9, besides="e0") is None
        assert sends.same(tx, "email", "same", AT - 1, until=AT + 4, besides="e2") is None
        assert sends.same(tx, "email", "other", AT - 1, until=AT + 9, besides="e2") is None
        assert sends.last_accepted(tx, "email") == AT + 5
        sends.note(tx, "email", "e1", at=AT + 9, content="same")
        assert sends.since(tx, "email", AT + 5, until=AT + 9, besides="") == (AT + 9,)
        assert sends.since(tx, "email", AT + 5, until=AT + 8, besides="") == ()


def test_the_last_that_each_channel_took_is_remembered(store):
    with store.begin() as tx:
        for number in range(3):
            sends.note(tx, "email", f"e{number}", at=AT, content="c")
            sends.accepted(tx, "email", f"e{number}", at=AT + number)
        sends.note(tx, "slack", "e", at=AT, content="c")
        assert sends.prune(tx, AT + 100) == 3
        assert (sends.last_accepted(tx, "email"), sends.last_accepted(tx, "slack")) == (AT + 2, 0.0)


def test_what_was_sent_is_forgotten_in_pieces(store):
    with store.begin() as tx:
        for number in range(5):
            for channel in ("email", "slack"):
                sends.note(tx, channel, f"e{number}", at=AT + number, content="c")
                sends.accepted(tx, channel, f"e{number}", at=AT + number)
    gone = []
    while not gone or gone[-1]:
        with store.begin() as tx:
            gone.append(sends.prune(tx, AT + 100, limit=3))
    assert gone == [3, 3, 2, 0]
    with store.read() as connection:
        assert [sends.last_accepted(connection, name) for name in ("email", "slack")] == [AT + 4] * 2


# the whole way, on every database


def test_limits_summaries_and_fallbacks_on_every_database(story):
    """Alerts and operations to a channel that takes two messages in five minutes, and then none at all."""
    story.settings |= {
        "notification_channels": {"slack": "#ops", "email": "ops@example.org", "sms": "+1555"},
        "notification_rules": {"slack": {"digest_above": 2, "same_within": 3, "fallback": ["email", "sms"]}},
    }
    for number in range(6):
        say(story, f"e{number}", f"disk {number} full")
    asked = story.ask(type="look_value", notification_channels=["slack"])
    send_due(story.world())
    story.receipts |= {name: Receipt(status="dead", error="gone", permanent=True) for name in ("slack", "email")}
    assert story.step(asked) is not None
    for _ in range(80):
        now = story.raw(asked)
        if now.stage != "closed" and now.due_at <= story.clock.at:
            story.step(asked)
        send_due(story.world())
        story.clock.at += 5
    assert story.show(asked)["stage"] == "closed"
    to_telephone = [title for channel, _, title in story.told if channel == "sms"]
    assert "[opsqueue] 5 messages: 5 warning" in to_telephone
    with story.store.read() as connection:
        found = {(row.event, row.channel): row.status for row in tellings.newest(connection, 99, every=True)}
    assert [found[f"e{number}", "slack"] for number in range(6)] == ["accepted"] * 2 + ["dead"] * 4
    for number in range(2, 6):
        assert (found[f"e{number}", "email"], found[f"e{number}", "sms"]) == ("dead", "accepted")
    assert notes(story.show(asked)) == {"slack": "dead", "email": "dead", "sms": "accepted"}


@pytest.mark.parametrize("at", range(1, 7))
def test_who_dies_while_telling_is_followed_by_another_on_every_database(story, at):
    story.settings |= {"notification_channels": {"slack": "#ops", "email": "ops@example.org"}}
    say(story, "e1", "disk full", "slack", "email")
    whole = story.store
    story.dying(at)
    try:
        send_due(story.world("one"))
    except BaseException as crash:  # noqa: BLE001 - the story's own crash, of which nothing may be left
        assert type(crash).__name__ == "Crash"  # noqa: PT017 - its class is that of the story
    story.store = whole
    story.clock.at += 60
    send_due(story.world("two"))
    story.clock.at += 60
    send_due(story.world("two"))
    assert {one.status for one in of(story.store)} == {"accepted"}
    counted = Counter(event for _, event, _ in story.told)
    assert set(counted) == {"e1:slack", "e1:email"}
    assert counted.total() <= 3


def notes(shown):
    return {one["channel"]: one["status"] for one in shown["notifications"]}


def say(story, event, title, *channels):
    message = Message(title=title, body=title, severity=Severity.WARNING, payload={}, short=title)
    with story.store.begin() as tx:
        assert enqueue(tx, story.world(), message, event_id=event, channels=channels or ["slack"])


def hanging(store, *, ended, took=15.0, event="e1", status="failed"):
    """A message whose try took so long."""
    add(store, a_message(event), row(event=event, status=status, attempts=1, error="no answer"))
    with store.begin() as tx:
        sends.note(tx, "email", event, at=ended - took, content="c")
        [found] = tellings.of(tx, event)
        assert tellings.save(tx, replace(found, at=ended), seen=1)


def an_operation(store, number):
    operation = Operation(id=f"op-{number}", name="n", type="t", priority=OperationPriority.NORMAL, created_at=AT)
    with store.begin() as tx:
        operations.create(tx, operation, "digest")
    return replace(row(event="ended"), operation_id=operation.id, next_at=0.0)


def guard(store, delivery, now):
    """What becomes of a delivery that is to be tried now, written down as it is in `notify`."""
    world = SimpleNamespace(now=lambda: now)
    with store.begin() as tx:
        done = guarded(tx, world, delivery, replace(delivery, status="sending", attempts=delivery.attempts + 1))
        deliveries.save(tx, done)
        if done.status == "sending":
            sends.note(tx, "email", f"{done.operation_id}:ended", at=now, content="c")
    return done


def test_of_many_who_rested_one_looks_whether_the_channel_answers_again(store):
    hanging(store, ended=AT)
    rows = [an_operation(store, number) for number in range(6)]
    rest = [guard(store, one, AT + 10) for one in rows]
    assert {(one.status, one.attempts) for one in rest} == {("queued", 0)}
    assert all(40 < one.next_at - AT < 80 for one in rest)
    tried = at_once(6, lambda index: guard(store, rest[index], AT + 80))
    assert sorted(one.status for one in tried) == ["queued"] * 5 + ["sending"]
    with store.begin() as tx:
        sends.accepted(tx, "email", next(f"{one.operation_id}:ended" for one in tried if one.attempts), at=AT + 81)
    assert {guard(store, one, AT + 82).status for one in tried if not one.attempts} == {"sending"}


def test_a_try_that_hung_counts_for_each_that_was_due_meanwhile_and_once(store):
    hanging(store, ended=AT)
    due = replace(an_operation(store, 1), next_at=AT - 5, attempts=7, status="failed")
    given_up = guard(store, due, AT + 1)
    assert (given_up.status, given_up.attempts, given_up.at) == ("dead", 8, AT)
    assert given_up.error == "another message to this channel failed: no answer"
    counted = guard(store, replace(due, attempts=1), AT + 1)
    assert (counted.status, counted.attempts) == ("failed", 2)
    again = guard(store, replace(counted, next_at=AT + 20), AT + 20)  # as when a person has it tried again
    assert (again.status, again.attempts) == ("failed", 2)
    assert again.note == "another message to this channel got no answer 20 s ago"


def test_a_channel_that_fails_at_once_or_took_something_since_is_no_channel_that_hangs(store):
    hanging(store, ended=AT, took=2.0)
    one = an_operation(store, 1)
    assert guard(store, one, AT + 1).status == "sending"
    hanging(store, ended=AT + 30, event="e2")
    assert guard(store, an_operation(store, 2), AT + 31).status == "queued"
    hanging(store, ended=AT + 30, took=1.0, event="e3", status="accepted")
    with store.begin() as tx:
        sends.accepted(tx, "email", "e3", at=AT + 30)
    assert guard(store, an_operation(store, 3), AT + 31).status == "sending"


def test_a_clock_that_was_set_back_lets_nobody_wait_for_the_future(store):
    hanging(store, ended=AT + 7200)
    assert guard(store, an_operation(store, 1), AT).status == "sending"


def test_what_a_channel_was_lately_sent_is_found_by_an_index(store):
    with store.begin() as tx:
        for number in range(2000):
            sends.note(tx, f"channel-{number % 20}", f"op-{number}:ended", at=AT + number, content="c")
    asked = []
    listen = lambda _c, _cursor, statement, parameters, *_more: asked.append((statement, parameters))  # noqa: E731
    with store.begin() as tx:
        tx.exec_driver_sql("ANALYZE")
        event.listen(tx, "before_cursor_execute", listen)
        found = sends.untaken(tx, "channel-7", after=AT + 1900, until=AT + 1950, besides="op-1927:ended")
        deliveries.to(tx, "channel-7", found)
        tellings.to(tx, "channel-7", found)
        event.remove(tx, "before_cursor_execute", listen)
        assert found == {f"op-{number}:ended": AT + number for number in (1907, 1947)}
        explain = "EXPLAIN QUERY PLAN" if tx.dialect.name == "sqlite" else "EXPLAIN"
        [sent, *_rows] = [tx.exec_driver_sql(f"{explain} {text}", given).all() for text, given in asked]
    assert "ix_sends_channel_at" in str(sent), sent

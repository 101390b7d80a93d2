"""A channel that takes messages and answers none, two processes, and the work of others beside it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from uuid import UUID

import pytest

from opsqueue.model.names import Severity, Stage
from opsqueue.notify.message import Message
from opsqueue.notify.receipt import ACCEPTED, LONGEST_TRY, MOST_ATTEMPTS, Receipt, refused
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.telling import enqueue
from opsqueue.store import deliveries, sends, tellings

CHANNELS = {"hang": "http://localhost:1/", "webhook": "http://localhost:2/", "sms": "+1555"}
SILENCE = refused("http://localhost:1 gave no answer within 15 s; it may still have got the message")


@dataclass
class Hanging:
    """A try that is under way: it ends at `until`, and `receipt` is what comes of it."""

    until: float
    receipt: Receipt
    over: threading.Event = field(default_factory=threading.Event)


class Pool:
    """Processes on the story's clock: one hangs for as long as its try does, the others go on meanwhile.

    Only one thread runs at any moment, and it is told when: the same story always goes the same way.
    """

    def __init__(self, story, processes=2):
        self.story, self.processes = story, processes
        self.hangs, self.asked = {"hang"}, 0
        self.tries, self.told = [], []
        """When a try that hangs began; who was told: `(when, event)`."""
        self._in_hand, self._hanging, self._rests = {}, [], threading.Semaphore(0)
        story._tell = self._tell

    def _tell(self, channel, _message, event):
        if channel not in self.hangs:
            self.told.append((self.story.clock.at, event))
            return ACCEPTED
        self.tries.append((self.story.clock.at, event))
        one = Hanging(self.story.clock.at + LONGEST_TRY, SILENCE)
        self._hanging.append(one)
        self._rests.release()
        assert one.over.wait(300)
        return one.receipt

    def _work(self, operation_id):
        try:
            advance(self.story.world(), operation_id, self.story.raw(operation_id).stage, go_on=True)
        finally:
            self._in_hand.pop(operation_id)
            self._rests.release()

    def _begin(self, operation_id):
        self._in_hand[operation_id] = thread = threading.Thread(target=self._work, args=(operation_id,))
        thread.start()
        assert self._rests.acquire(timeout=300)

    def _end(self, one):
        self._hanging.remove(one)
        one.over.set()
        assert self._rests.acquire(timeout=300)

    def answer(self):
        """The receiver answers those who wait, and whoever comes."""
        self.hangs.clear()
        for one in list(self._hanging):
            one.receipt = ACCEPTED
            self._end(one)

    def run(self, *ids, seconds=0.0):
        """Work what is due, for so many seconds, or until nothing is to be done any more."""
        until = self.story.clock.at + seconds
        while True:
            rows = [self.story.raw(one) for one in ids if one not in self._in_hand]
            due = sorted((one.due_at, one.id) for one in rows if one.stage is not Stage.CLOSED and one.due_at)
            free = len(self._in_hand) < self.processes
            if due and free and due[0][0] <= self.story.clock.at:
                self._begin(due[0][1])
                continue
            times = [one.until for one in self._hanging] + [at for at, _ in due if free]
            if not times or min(times) > until:
                self.story.clock.at = until
                return
            self.story.clock.at = max(self.story.clock.at, min(times))
            for one in [one for one in self._hanging if one.until <= self.story.clock.at]:
                self._end(one)

    def rows(self, operation_id):
        with self.story.store.read() as connection:
            return {row.channel: row for row in deliveries.of(connection, operation_id)}

    def row(self, operation_id, channel="hang"):
        return self.rows(operation_id)[channel]


@pytest.fixture
def pool(story):
    story.settings |= {"notification_channels": CHANNELS, "max_concurrent_operations": 100}
    pool = Pool(story)
    yield pool
    pool.answer()  # no thread outlives its story


def ask(pool, *channels):
    """The ids, from which the times of tries follow, are the same each time."""
    pool.asked += 1
    named = {"operation_id": str(UUID(int=pool.asked)), "notification_channels": list(channels or ["hang"])}
    return pool.story.ask(type="look_value", **named)


def test_who_is_next_waits_outside_while_another_hangs(pool):
    first = ask(pool)
    pool.run(first, seconds=7)
    second = ask(pool)
    pool.run(first, second)
    waits = pool.row(second)
    assert (waits.status, waits.attempts) == ("queued", 0)
    assert waits.note == "another message to this channel has been on its way for 7 s"
    assert 3 < waits.next_at - pool.story.clock.at < 7
    shown = pool.story.show(second)
    assert (shown["stage"], shown["waits_for"]) == ("notify", ["delivery"])
    assert f"hang waits: {waits.note}" in shown["verdicts"][-1]["why"]
    assert len(pool.tries) == 1


def test_it_is_told_once_the_other_was_answered(pool):
    first = ask(pool)
    pool.run(first, seconds=7)
    second = ask(pool)
    pool.run(first, second)
    pool.answer()
    pool.run(first, second, seconds=10)
    assert [event for _, event in pool.told] == [f"{second}:ended:hang"]
    assert (pool.row(second).status, pool.row(second).attempts, pool.row(second).note) == ("accepted", 1, "")
    assert {pool.story.show(one)["stage"] for one in (first, second)} == {"closed"}


def test_two_that_hung_together_count_one_try_each_and_rest(pool):
    both = [ask(pool), ask(pool)]
    pool.run(*both, seconds=25)
    assert len(pool.tries) == 2
    for one in both:
        row = pool.row(one)
        assert (row.status, row.attempts, row.error) == ("failed", 1, SILENCE.error)
        assert row.note.startswith("another message to this channel got no answer ")
        assert not row.held, "its time is to be in the figures"
        assert f"(1 attempts, {SILENCE.error}); {row.note}, next at" in pool.story.show(one)["verdicts"][-1]["why"]
        assert 48 <= row.next_at - (pool.tries[0][0] + LONGEST_TRY) <= 72


def test_nobody_waits_for_one_that_has_only_begun(pool):
    first, second = ask(pool), ask(pool)
    pool.run(first, second, seconds=2)
    assert len(pool.tries) == 2


def test_nobody_waits_long_for_a_try_of_a_worker_that_died(pool):
    story, first = pool.story, ask(pool)
    story._tell = lambda *_: story.crash()
    with pytest.raises(BaseException, match=r"^$"):
        advance(story.world(), first, Stage.VERIFY, go_on=True)
    del story._tell
    assert pool.row(first).status == "sending"
    story.clock.at += 7
    second = ask(pool)
    pool.run(second, seconds=10)
    assert (pool.row(second).status, story.told) == ("queued", [])
    pool.run(second, seconds=10)
    assert (pool.row(second).status, len(story.told)) == ("accepted", 1)


def test_other_work_goes_on_beside_many_that_tell_a_channel_that_hangs(pool):
    many = [ask(pool) for _ in range(12)]
    pool.run(*many, seconds=16)
    assert len(pool.tries) == pool.processes, "only those who began before anybody knew"
    began = pool.story.clock.at
    others = [ask(pool, "webhook") for _ in range(30)]
    pool.run(*many, *others, seconds=60)
    assert len(pool.told) == 30
    assert max(at for at, _ in pool.told) - began <= 1, "one of two processes is always free for others"


def test_while_it_hangs_one_at_a_time_looks_whether_it_works_again(pool):
    many = [ask(pool) for _ in range(12)]
    pool.run(*many, seconds=1200)
    began = [at for at, _ in pool.tries[1:]]
    assert len(began) > 5
    assert all(after - before >= LONGEST_TRY for before, after in pairwise(began))
    assert len(began) < 12 * 4, "each of them hung in its turn"


def test_once_it_answers_all_are_told_at_their_next_try_and_each_once(pool):
    many = [ask(pool) for _ in range(12)]
    pool.run(*many, seconds=200)
    pool.answer()
    pool.run(*many, seconds=1200)
    assert {pool.row(one).status for one in many} == {"accepted"}
    told = Counter(event for _, event in pool.told)
    assert set(told.values()) == {1}
    assert {pool.story.show(one)["stage"] for one in many} == {"closed"}


def test_all_go_down_to_the_next_channel_as_soon_as_if_each_had_hung_itself(pool):
    pool.story.settings |= {"notification_rules": {"hang": {"fallback": ["sms"]}}}
    many = [ask(pool) for _ in range(8)]
    began = pool.story.clock.at
    pool.run(*many, seconds=4 * 3600)
    for one in many:
        row = pool.row(one)
        assert (row.status, row.attempts, row.fallback) == ("dead", MOST_ATTEMPTS, "sms")
        assert pool.row(one, "sms").status == "accepted"
        assert pool.row(one, "sms").note == "instead of hang"
    assert set(Counter(event for _, event in pool.told).values()) == {1}
    assert {pool.story.show(one)["stage"] for one in many} == {"closed"}
    assert len(pool.tries) < len(many) * MOST_ATTEMPTS * 3 / 4
    given_up = max(at for at, _ in pool.told) - began
    assert given_up < 3.5 * 3600, f"{given_up / 3600:.1f} h"
    with pool.story.store.read() as connection:
        assert len(tellings.newest(connection, 99, every=True)) == 1, "that it does not work is told once"


def test_one_alone_keeps_its_own_times(pool):
    alone = ask(pool)
    pool.run(alone, seconds=4 * 3600)
    waits = [after - before - LONGEST_TRY for (before, _), (after, _) in pairwise(pool.tries)]
    assert [round(wait / base) for wait, base in zip(waits, (5, 15, 60, 300, 900, 3600, 3600), strict=True)] == [1] * 7
    assert pool.row(alone).status == "dead"


def test_a_channel_that_fails_at_once_keeps_nobody_waiting(story):
    story.settings |= {"notification_channels": CHANNELS}
    story.receipts["webhook"] = Receipt(status="failed", error="busy")
    for _ in range(3):
        operation_id = story.ask(type="look_value", notification_channels=["webhook"])
        story.drive(operation_id, steps=6)
    assert len({event for _, event, _ in story.told}) == 3


def test_messages_without_an_operation_count_as_well(pool):
    """The teller's own try hangs; an operation does not hang beside it."""
    story, at = pool.story, pool.story.clock.at
    message = Message(title="t", body="b", severity=Severity.INFO, payload={}, short="s")
    with story.store.begin() as tx:
        enqueue(tx, story.world(), message, event_id="alert:1", channels=["hang"])
        [row] = tellings.of(tx, "alert:1")
        sends.note(tx, "hang", "alert:1", at=at - 7, content="c")
        assert tellings.save(tx, replace(row, status="sending", attempts=1), seen=0)
    one = ask(pool)
    pool.run(one)
    assert pool.row(one).note == "another message to this channel has been on its way for 7 s"


def test_where_it_comes_from_is_still_said_of_one_that_waits(pool):
    pool.story.settings |= {"notification_rules": {"webhook": {"fallback": ["hang"]}}}
    first = ask(pool)
    pool.run(first, seconds=7)
    tell = pool.story._tell
    gone = Receipt(status="dead", error="gone", permanent=True)
    pool.story._tell = lambda channel, *rest: gone if channel == "webhook" else tell(channel, *rest)
    second = ask(pool, "webhook")
    pool.run(first, second)
    waits = pool.row(second)
    assert waits.note == "instead of webhook; another message to this channel has been on its way for 7 s"
    pool.answer()
    pool.run(first, second, seconds=10)
    assert (pool.row(second).status, pool.row(second).note) == ("accepted", "instead of webhook")


def test_channels_of_one_operation_do_not_wait_for_one_that_hangs(story):
    """`hang` answers only when `webhook` was told, which comes after it."""
    story.settings |= {"notification_channels": CHANNELS}
    told = threading.Event()

    def tell(channel, _message, _event):
        if channel == "webhook":
            told.set()
        return ACCEPTED if channel == "webhook" or told.wait(120) else SILENCE

    story._tell = tell
    shown = story.drive(story.ask(type="look_value", notification_channels=["hang", "webhook"]))
    assert {one["channel"]: one["status"] for one in shown["notifications"]} == {
        "hang": "accepted",
        "webhook": "accepted",
    }
    assert shown["stage"] == "closed"

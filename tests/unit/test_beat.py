"""Beat, on a clock that is handed in: it ticks at the slots themselves, whenever it was started."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from opsqueue.beat_schedule import Entry
from opsqueue.pipeline.schedule import latest_slot, next_slot
from opsqueue.settings import Settings
from opsqueue.tasks.app import make_app
from opsqueue.tasks.beat import Slots, Steady, entries

START = datetime(2026, 11, 23, 15, 29, 28, 371_000, tzinfo=UTC).timestamp()
SLOW = 0.004
"""Seconds that it takes to send one message."""
ODD = {
    "sundays": {"type": "health_check", "cron": "0 0 * * 7"},
    "either": {"type": "health_check", "cron": "20 4 13 * tue"},
}
"""What Celery's own crontab refuses, or understands in another way than cron does."""


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, at=START):
        self.at = at

    def __call__(self):
        return datetime.fromtimestamp(self.at, UTC)


@pytest.fixture
def ticks(tmp_path):
    """The moments at which Celery's own Beat sends, by entry, and how often it looked; `back`: (after, by) seconds."""

    def run(seconds, pause=5, back=None, **settings):
        clock, sent, looks = Clock(), {}, 0
        config = Settings(state_dir=tmp_path, **settings)

        class Recorded(Steady):
            @staticmethod
            def clock():
                return clock.at

            def apply_async(self, entry, **_more):
                sent.setdefault(entry.name, []).append(clock.at)
                clock.at += SLOW

            producer = None

        app = make_app(config)
        app.conf.beat_schedule = {name: one for name, one in entries(config, clock).items() if name != "upkeep"}
        beat = Recorded(app, max_interval=pause)
        while clock.at < START + seconds:
            clock.at += max(beat.tick(), 0.0001)
            looks += 1
            if back and clock.at > START + back[0]:
                clock.at, back = clock.at - back[1], None
        app.close()
        return sent, looks

    return run


def test_an_entry_is_ticked_at_its_slots_and_at_each_once(ticks):
    sent, _looks = ticks(3600)
    for name, every in (("system-monitoring", 60), ("health-check", 300)):
        first = START - START % every + every
        assert [at - at % every for at in sent[name]] == [first + every * n for n in range(3600 // every)]
        assert max(at % every for at in sent[name]) < 0.1


def test_by_cron_too_however_it_is_written(ticks):
    sent, _looks = ticks(9 * 86_400, 600, schedule={**ODD, "system-monitoring": False, "health-check": False})
    for name, cron in (("backup", "30 2 * * *"), *((name, one["cron"]) for name, one in ODD.items())):
        entry, slots = Entry(name=name, type="health_check", cron=cron), [START]
        while slots[-1] < START + 9 * 86_400:
            slots.append(next_slot(entry, slots[-1]))
        late = [at - slot for at, slot in zip(sent[name], slots[1:-1], strict=True)]
        assert max(map(abs, late)) < 0.1


def test_a_clock_that_is_set_back_stops_nothing(ticks):
    sent, _looks = ticks(900, back=(600, 3600))
    for name, every in (("system-monitoring", 60), ("health-check", 300)):
        after = [at for at in sent[name] if at < START]
        began = START + 600 - 3600
        assert after[0] - began <= every + 10, "at the next slot by the time that it is now"
        assert len(after) == pytest.approx(3600 / every - 10 * 60 / every, abs=2)
        assert max(at % every for at in sent[name]) < 0.1


def test_it_does_not_spin_until_a_slot_is_there(ticks):
    sent, looks = ticks(600)
    assert looks < 600 / 5 + 4 * sum(len(moments) for moments in sent.values())


def test_after_a_pause_it_ticks_once_and_is_in_step_again():
    clock = Clock()
    slots = Slots(Entry(name="look", type="health_check", every=60), clock)
    last = clock()
    clock.at += 3600
    due, until = slots.is_due(last)
    assert due
    assert (clock.at + until) % 60 == pytest.approx(0.010, abs=0.001)
    assert not slots.is_due(clock())[0]


def test_the_present_slot_counts_and_a_moment_before_it_does_not():
    clock = Clock()
    slots = Slots(Entry(name="look", type="health_check", every=60), clock)
    last, clock.at = clock(), START - START % 60 + 60
    assert slots.is_due(last)[0]
    clock.at -= 0.001
    assert not slots.is_due(last)[0]


def test_slots_are_the_same_if_their_entry_is():
    """Beat compares its schedules at each look, and begins anew when one has changed."""
    one, other = (Slots(Entry(name="look", type="health_check", every=every)) for every in (60, 61))
    again = pickle.loads(pickle.dumps(one))
    assert one == again == copy.copy(one)
    assert hash(one) == hash(again)
    assert one != other
    assert one != 60


@pytest.mark.parametrize("cron", ["30 2 * * *", "*/30 * * * *", "15 2,3 * * *", "0 */2 * * *"])
@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_the_next_slot_is_the_newest_one_when_it_has_come(cron, day):
    """Or Beat would tick for nothing in the nights in which the clocks are changed."""
    entry = Entry(name="look", type="health_check", cron=cron, timezone="Europe/Berlin")
    begin = datetime.fromisoformat(f"{day}T12:00:07+00:00")
    moments = [(begin + timedelta(minutes=10 * n)).timestamp() for n in range(6 * 24)]
    slots = [next_slot(entry, at) for at in moments]
    assert [latest_slot(entry, slot) for slot in slots] == slots
    assert all(sooner <= later for sooner, later in pairwise(slots))
    assert all(latest_slot(entry, slot - 1) <= at < slot for at, slot in zip(moments, slots, strict=True))

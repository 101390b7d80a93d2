"""What happens by the clock: each slot once, missed ones caught up once; old history is forgotten in chunks."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.exc import DBAPIError

from opsqueue.beat_schedule import Entry
from opsqueue.errors import NotFound
from opsqueue.pipeline.schedule import latest_slot, tick, tick_all
from opsqueue.pipeline.upkeep import BURIED, note_buried, rotate_logs, upkeep
from opsqueue.store import events, history, operations

DAY = 86_400.0
MINUTELY = Entry(name="look", type="look_value", every=60, systems=("h1",))
DAILY = Entry(name="nightly", type="look_value", cron="30 2 * * *", timezone="Europe/Berlin", systems=("h1",))


def all_ids(story):
    with story.store.read() as connection:
        return [one.id for one in (*history.active(connection), *history.ended(connection, history.Wanted(limit=500)))]


def test_each_slot_is_submitted_once_by_two_beats(story):
    worlds = story.world("beat-1"), story.world("beat-2")
    found = [tick(world, MINUTELY) for _ in range(3) for world in worlds]
    assert sum(one is not None for one in found) == len(all_ids(story)) == 1
    story.clock.at += 60
    found = [tick(world, MINUTELY) for _ in range(3) for world in worlds]
    assert sum(one is not None for one in found) == 1
    assert len(all_ids(story)) == 2


def test_each_slot_is_submitted_once_by_many_beats_at_the_same_moment(story):
    together = threading.Barrier(4)

    def beat(number):
        world = story.world(f"beat-{number}")
        together.wait()
        tick(world, MINUTELY)

    threads = [threading.Thread(target=beat, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(all_ids(story)) == 1


def test_missed_slots_are_caught_up_once(story):
    tick(story.world(), MINUTELY)
    story.clock.at += 3600
    assert tick_all(story.world(), [MINUTELY]) == 1
    assert tick_all(story.world(), [MINUTELY]) == 0
    assert len(all_ids(story)) == 2


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("entry", [MINUTELY, DAILY])
def test_a_clock_that_was_ahead_for_a_moment_stops_no_schedule(story, entry, known):
    """A machine may begin with a wrong clock: what it did then is nothing for which to wait until that time comes."""
    if known:
        tick(story.world(), entry)
    story.clock.at += 40 * DAY
    tick(story.world(), entry)
    story.clock.at += DAY
    assert tick(story.world(), entry)
    story.clock.at -= 41 * DAY
    tick(story.world(), entry)
    for _ in range(3):
        story.clock.at += DAY
        assert tick(story.world(), entry)
        assert tick(story.world(), entry) is None


def test_a_clock_that_is_set_back_has_no_slot_submitted_again(story):
    for _ in range(10):
        assert tick(story.world(), MINUTELY)
        story.clock.at += 60
    story.clock.at -= 600
    for _ in range(10):
        assert tick(story.world(), MINUTELY) is None
        story.clock.at += 60
    assert tick(story.world(), MINUTELY)
    assert len(all_ids(story)) == 11


def test_a_new_daily_schedule_does_not_submit_the_past(story):
    assert tick(story.world(), DAILY) is None
    story.clock.at += DAY
    assert tick(story.world(), DAILY) is not None
    assert tick(story.world(), DAILY) is None
    story.clock.at += 3 * DAY
    assert tick_all(story.world(), [DAILY]) == 1


def test_a_scheduled_operation_says_where_it_comes_from(story):
    shown = story.drive(tick(story.world(), MINUTELY).id)
    assert (shown["requested_by"], shown["outcome"]) == ("schedule:look", "succeeded")


def test_a_schedule_that_cannot_be_submitted_leaves_the_others_alone(story):
    lost = Entry(name="lost", type="look_value", every=60, systems=("h9",))
    assert tick_all(story.world(), [lost, MINUTELY]) == 1
    with pytest.raises(NotFound):
        tick(story.world(), lost)


@pytest.mark.parametrize("year_day", ["2026-03-26", "2026-10-22"])
def test_a_nightly_slot_comes_once_a_night_whatever_the_clock_does(year_day):
    zone = ZoneInfo("Europe/Berlin")
    start = datetime.fromisoformat(year_day).replace(hour=12, tzinfo=zone)
    moments = [start.timestamp() + 1800 * step for step in range(2 * 24 * 5)]
    slots = sorted({latest_slot(DAILY, at) for at in moments})
    assert all(latest_slot(DAILY, at) <= at for at in moments)
    nights = [datetime.fromtimestamp(slot, zone).date() for slot in slots]
    assert nights == [start.date() + timedelta(days=n) for n in range(len(nights))]
    assert len(nights) in {5, 6}


def test_what_happens_all_day_happens_in_both_of_the_doubled_hours():
    entry = Entry(name="often", type="look_value", cron="*/30 * * * *", timezone="Europe/Berlin")
    start = datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp()
    slots = sorted({latest_slot(entry, start + 300 * step) for step in range(12 * 6)})
    assert {later - sooner for sooner, later in pairwise(slots)} == {1800.0}


def test_the_present_moment_is_a_slot():
    at = datetime(2026, 6, 1, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert latest_slot(DAILY, at) == at
    assert latest_slot(DAILY, at - 1) == at - DAY
    assert latest_slot(MINUTELY, 120.0) == 120.0
    assert latest_slot(MINUTELY, 179.9) == 120.0


def test_old_history_is_forgotten_with_all_that_hangs_on_it(story):
    old = [story.ask("look_value") for _ in range(3)]
    for operation_id in old:
        story.drive(operation_id)
    held = story.ask()
    story.clock.at += 366 * DAY
    recent = story.ask("look_value")
    story.drive(recent)
    upkeep(story.world())
    assert sorted(all_ids(story)) == sorted([held, recent])
    with story.store.read() as connection:
        for table in ("events", "targets", "deliveries"):
            kept = set(connection.exec_driver_sql(f"SELECT operation_id FROM {table}").scalars())
            assert kept <= {held, recent}


def test_a_clock_that_is_years_ahead_for_a_while_does_not_erase_the_record(story):
    story.settings |= {"history_retention_days": 7}
    ended = [story.ask("look_value") for _ in range(3)]
    for operation_id in ended:
        story.drive(operation_id)
    upkeep(story.world())
    began = story.clock.at
    story.clock.at += 5 * 366 * DAY
    for _ in range(3):  # three hours, until somebody sees it
        upkeep(story.world())
        story.clock.at += 3600
    story.clock.at = began + 4 * 3600
    upkeep(story.world())
    assert sorted(all_ids(story)) == sorted(ended)
    story.clock.at += 10 * DAY  # switched off as long as that, it catches up by a day each hour
    for _ in range(6):
        upkeep(story.world())
        story.clock.at += 3600
    assert sorted(all_ids(story)) == sorted(ended)
    for _ in range(4):
        upkeep(story.world())
        story.clock.at += 3600
    assert all_ids(story) == []


def test_it_is_forgotten_in_chunks(story):
    ids = [story.ask("look_value") for _ in range(5)]
    for operation_id in ids:
        story.drive(operation_id)
    later = story.clock.at + DAY
    with story.store.begin() as tx:
        assert [history.prune(tx, later, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_the_last_slot_of_a_schedule_is_remembered_however_old(story):
    """Else its slot would look missed, and the work of long ago be done again."""
    story.settings |= {"history_retention_days": 1}
    weekly = Entry(name="weekly", type="look_value", cron="0 3 * * sun", systems=("h1",))
    tick(story.world(), weekly)
    for _ in range(2):
        story.clock.at += 7 * DAY
        story.drive(tick(story.world(), weekly).id)
    story.clock.at += 1.5 * DAY
    upkeep(story.world())
    assert len(all_ids(story)) == 1
    assert tick(story.world(), weekly) is None
    assert len(all_ids(story)) == 1


def test_upkeep_is_done_once_an_hour_by_whomever(story):
    ended = story.ask("look_value")
    story.drive(ended)
    story.clock.at += 366 * DAY
    upkeep(story.world("worker-1"))
    late = story.ask("look_value", systems=["h2"])
    story.drive(late)
    with story.store.begin() as tx:
        tx.exec_driver_sql("UPDATE operations SET finished_at = 5, created_at = 4")
    story.clock.at += 60
    upkeep(story.world("worker-1"))
    upkeep(story.world("worker-2"))
    assert all_ids(story) == [late]
    story.clock.at += 3600
    upkeep(story.world("worker-2"))
    assert all_ids(story) == []


def test_history_cannot_be_changed(story):
    operation_id = story.ask()
    with pytest.raises(DBAPIError, match="appended only"), story.store.begin() as tx:
        tx.exec_driver_sql("UPDATE events SET message = 'nothing happened'")
    with story.store.read() as connection:
        assert events.of(connection, operation_id)[0].kind == "submitted"
        assert operations.get(connection, operation_id).token == 0


def test_logs_get_their_date_and_old_ones_go(tmp_path):
    now = datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()
    log, old, fresh = (
        tmp_path / "operations.log",
        tmp_path / "operations.log-20260501",
        tmp_path / "operations.log-20260608",
    )
    for path, age in ((log, 1), (old, 40), (fresh, 2)):
        path.write_text("a line\n")
        os.utime(path, (now - age * DAY, now - age * DAY))
    (tmp_path / "system-metrics.log").write_text("today\n")
    os.utime(tmp_path / "system-metrics.log", (now, now))
    rotate_logs(tmp_path, 30, now)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "operations.log-20260608",
        "operations.log-20260609",
        "system-metrics.log",
    ]


def test_messages_that_were_buried_are_written_into_the_history_once(story):
    world = story.world()
    for total in (0, 3, 3, 5, 1):  # at the end Redis was emptied, and counts anew
        note_buried(world, total)
    with world.store.read() as connection:
        lines = events.latest(connection, BURIED)
    assert [line.data["new"] for line in reversed(lines)] == [3, 2, 1]
    assert lines[0].message == "1 message that could not be read: buried"

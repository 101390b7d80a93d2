"""Two Beats; workers that were stopped and go on, that are deaf; a database that is locked or restarts."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from rig import LEASE, until
from server import Postgres

pytestmark = pytest.mark.service


def test_two_beats_and_three_workers_submit_each_slot_once(make_rig):
    every = {"type": "tally_change", "every": 1, "systems": ["h1"], "parameters": {"one_more": True, "key": "ticks"}}
    rig = make_rig(hosts=1, worker={"processes": 2}, schedule={"ticks": every})
    for name in ("a", "b", "c"):
        rig.worker(name)
    beats = [rig.beat("beat1"), rig.beat("beat2")]
    until(lambda: len(_slots(rig)) >= 5, what="five slots")
    beats[0].kill()  # the other goes on
    so_far = len(_slots(rig))
    until(lambda: len(_slots(rig)) >= so_far + 3, what="three slots of one Beat")
    beats[1].kill()
    until(lambda: not rig.open([row[1] for row in _slots(rig)]), what="the end of all")
    time.sleep(2)  # ticks that are still on their way
    rows = _slots(rig)
    slots = [row[0] for row in rows]
    assert slots == [slots[0] + number for number in range(len(slots))], "a slot is missing, or there twice"
    rig.closed(*(row[1] for row in rows))
    rig.sound({row[1]: "succeeded" for row in rows})
    assert int((rig.directory / "hosts" / "h1" / "ticks").read_text()) == len(slots)


def _slots(rig):
    with rig.store.read() as connection:
        return list(
            connection.exec_driver_sql("SELECT slot, id FROM operations WHERE schedule = 'ticks' ORDER BY slot")
        )


STALE = ("before-2", "written-2", "ended-1", "verify.taken", "collect.decided", "analyze.taken")


@pytest.mark.parametrize("whole", [False, True], ids=["pool process", "whole worker"])
def test_a_worker_that_was_stopped_for_longer_than_its_lease(make_rig, whole):
    """Others go on without it; when it continues, its token is stale: it writes nothing and sends nothing more."""
    rig = make_rig(worker={"processes": len(STALE)})
    worker = rig.worker("a")
    held = {where: rig.ask(f"h{number}", hold=[where]) for number, where in enumerate(STALE, 1)}
    pids = [rig.at(operation_id, where) for where, operation_id in held.items()]
    since = time.time()
    if whole:
        worker.freeze()
    for pid in [] if whole else pids:
        os.kill(pid, signal.SIGSTOP)
    for where, operation_id in held.items():
        rig.let_go(operation_id, where)
    rig.worker("b")
    rig.closed(*held.values())
    rig.recovered(f"SIGSTOP of {'the whole worker' if whole else 'pool processes'}", held.values(), since)
    histories = {one: rig.history(one) for one in held.values()}
    tally = rig.tally()
    _go_on(rig, worker, pids, whole)
    assert rig.tally() == tally
    assert {one: rig.history(one) for one in held.values()} == histories
    backward = ("before-2", "written-2", "ended-1")
    rig.sound({one: "rolled_back" if where in backward else "succeeded" for where, one in held.items()})


def _go_on(rig, worker, pids, whole):
    """Let the stopped ones go on until each has found that its lease is lost."""
    if whole:
        worker.freeze(signal.SIGCONT)
    for pid in [] if whole else pids:
        os.kill(pid, signal.SIGCONT)
    until(lambda: rig.log().count("was taken over by another worker") >= len(pids), what="that each sees it")


def test_postgresql_crashes_and_comes_back(make_rig):
    """Whoever was at work finds the record away, and lets its lease lapse; nobody applies anything again."""
    database = Postgres()
    try:
        rig = make_rig(worker={"processes": 5}, database_url=database.url)
        worker = rig.worker()
        held = {where: rig.ask(f"h{number}", hold=[where]) for number, where in enumerate(ON_POSTGRESQL, 1)}
        for where, operation_id in held.items():
            rig.at(operation_id, where)
        database.crash()
        for where, operation_id in held.items():
            rig.let_go(operation_id, where)
        time.sleep(2)  # the fault itself
        database.start()
        rig.store.close()  # our own connections of before
        since = time.time()
        asked = rig.ask("h6")
        rig.closed(asked, *held.values())
        rig.recovered("PostgreSQL crashed, away for 2 s, after its return", held.values(), since)
        rig.sound({asked: "succeeded", **{held[where]: outcome for where, outcome in ON_POSTGRESQL.items()}})
        assert worker.process.poll() is None
        rig.close()
    finally:
        database.close()


ON_POSTGRESQL = {
    "verify.taken": "succeeded",
    "command-1": "rolled_back",
    "command-2": "succeeded",
    "collect.decided": "succeeded",
    "notify.taken": "succeeded",
}


def test_a_deaf_worker_is_noticed_and_started_again(make_rig):
    rig = make_rig(worker={"deaf_seconds": 2})
    worker = rig.worker()
    rig.closed(rig.ask("h1"))
    (deaf,) = worker.mains.values()
    os.kill(deaf.pid, signal.SIGSTOP)
    since = time.time()
    asked = rig.ask("h1")
    rig.closed(asked)
    rig.recovered("a worker that takes nothing any more (deaf_seconds 2 in the test, 30 by default)", [asked], since)
    rig.sound({asked: "succeeded"})
    assert not psutil.pid_exists(deaf.pid)


def test_a_worker_that_is_slow_to_start_is_not_taken_for_a_deaf_one(make_rig):
    """It would be killed, and the next as well, for ever."""
    rig = make_rig(worker={"deaf_seconds": 2})
    worker = rig.worker()
    rig.closed(rig.ask("h1"))
    (first,) = worker.mains.values()
    first.kill()
    second = until(lambda: next((one for one in worker.mains.values() if one.pid != first.pid), None), 60, "the next")
    second.suspend()
    asked = rig.ask("h1", wait=False)
    time.sleep(6)
    second.resume()
    until(lambda: rig.known([asked]), 60, "the request in the record")
    rig.closed(asked)
    rig.sound({asked: "succeeded"})
    assert "takes nothing any more" not in rig.log()


def test_a_busy_worker_is_not_taken_for_a_deaf_one(make_rig):
    """A flood of requests that takes longer than deaf_seconds to write down, while no operation is worked on."""
    # Ten seconds, since on a busy machine one write alone has been seen to take four.
    rig = make_rig(worker={"deaf_seconds": 10, "processes": 1})
    refused = {"name": "flood", "type": "no_such_type", "target_systems": ["h1"]}
    worker = rig.worker()
    until_then = time.monotonic() + 13
    while time.monotonic() < until_then:
        if rig.queued()["intake"] < 500:
            for _ in range(500):
                rig.sender.app.send_task("opsqueue.submit", args=[refused], queue="intake")
    until(lambda: not rig.queued()["intake"], 60, "the end of the flood")
    rig.closed(rig.ask("h1"))
    assert "takes nothing any more" not in rig.log()
    assert worker.process.poll() is None


def test_the_database_locked_for_as_long_as_a_lease(make_rig):
    """Nobody can write, not even renew a lease: whoever is first afterwards goes on, and nothing is sent twice."""
    places = ("verify.decided", "command-1", "ended-2", "collect.taken", "analyze.decided")
    rig = make_rig(worker={"processes": len(places)})
    rig.worker()
    held = {rig.ask(f"h{number}", hold=[where]): where for number, where in enumerate(places, 1)}
    for operation_id, where in held.items():
        rig.at(operation_id, where)
    with rig.database_locked():
        for operation_id, where in held.items():
            rig.let_go(operation_id, where)
        time.sleep(LEASE)  # the fault itself
    since = time.time()
    rig.closed(*held)
    rig.recovered("SQLite locked by somebody else for 3 s, after its release", held, since)
    outcomes = {one: rig.row(one).outcome for one in held}
    # The one between its two commands may have been found by another, who leads back what was begun.
    assert all(outcomes[one] == "succeeded" for one, where in held.items() if where != "command-1")
    assert set(outcomes.values()) <= {"succeeded", "rolled_back"}
    rig.sound(outcomes)

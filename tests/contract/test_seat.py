"""The seat of a host's own worker: one sits there, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from opsqueue.errors import Conflict, LeaseLost
from opsqueue.pipeline.seat import Seat, still_seated
from opsqueue.settings import Settings
from opsqueue.tasks.seated import seated

LONG, SHORT = 600.0, 0.3
HERE, THERE = Seat("h1", "machine-a", 11, 1_800_000_000.0), Seat("h1", "machine-b", 11, 1_800_000_000.0)


def silent(_words):
    pass


def test_a_second_one_is_refused_while_the_first_lives(store):
    HERE.take(store, LONG, silent)
    said, ended = [], threading.Event()

    def live():
        while not ended.wait(0.05):
            HERE.stretch(store, LONG)

    alive = threading.Thread(target=live)
    alive.start()
    try:
        with pytest.raises(Conflict) as refused:
            THERE.take(store, LONG, said.append)
    finally:
        ended.set()
        alive.join()
    assert "process 11 on machine-a, since 2027-01-15T08:00:00Z" in refused.value.message
    assert refused.value.exit_code == 9
    assert len(said) == 1
    HERE.stretch(store, LONG)


def test_one_that_is_dead_gives_way_and_does_not_come_back(store):
    HERE.take(store, SHORT, silent)
    THERE.take(store, LONG, silent)
    with pytest.raises(LeaseLost, match="on machine-b"):
        HERE.stretch(store, LONG)
    THERE.stretch(store, LONG)


def test_one_that_leaves_gives_way_at_once(store):
    HERE.take(store, LONG, silent)
    THERE.leave(store)
    with pytest.raises(LeaseLost, match="on machine-a"):
        THERE.stretch(store, LONG)
    HERE.leave(store)
    said = []
    THERE.take(store, LONG, said.append)
    assert said == []


def test_each_host_has_a_seat_of_its_own_and_shared_workers_need_none(store):
    HERE.take(store, LONG, silent)
    Seat("h2").take(store, LONG, silent)
    now = time.time()
    with store.begin() as tx:
        assert still_seated(tx, "h1", HERE.holder, now=now, until=now + LONG)
        assert not still_seated(tx, "h1", THERE.holder, now=now, until=now + LONG)
        assert still_seated(tx, "", "", now=now, until=now + LONG)


def sat_and(store, what):
    """Sit on h1 as a worker does that keeps no children yet, do so, and wait for what comes of it."""
    with seated(Settings(database_url=store.url, worker={"lease_seconds": 5}), "h1", tell=silent) as seat:
        what(seat)
        time.sleep(60)


def test_one_that_lost_its_seat_before_it_began_says_so(store):
    def lose(seat):
        seat.leave(store)
        THERE.take(store, LONG, silent)

    with pytest.raises(Conflict, match="process 11 on machine-b"):
        sat_and(store, lose)


def test_one_that_is_told_to_end_before_it_began_leaves_its_seat_to_the_next(store):
    before, said = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(SystemExit) as ended:
        sat_and(store, lambda _seat: os.kill(os.getpid(), signal.SIGTERM))
    THERE.take(store, LONG, said.append)
    assert (ended.value.code, said) == (0, [])
    assert signal.getsignal(signal.SIGTERM) is before

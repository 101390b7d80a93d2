"""Nothing that is put on a queue ends the worker; needs a redis-server, real worker processes on a Unix socket."""

from __future__ import annotations

import json
import logging
import os
import signal
import time

import pytest
from hostile_messages import hostile, message, unusual
from worker_bench import QUEUES, Bench, until

from opsqueue.tasks import dead

pytestmark = pytest.mark.service


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def prefixed(tmp_path):
    made = Bench(tmp_path, prefix="shared.")
    yield made
    made.close()


def test_every_hostile_message_is_buried_and_the_worker_goes_on(bench, tmp_path):
    bench.start_worker()
    pid = bench.worker.pid
    touched = tmp_path / "touched"
    bad = hostile(str(touched))
    assert len(bad) >= 30
    for number, (_, payload) in enumerate(bad):
        for queue in QUEUES:
            bench.push(queue, payload)
        bench.send(f"good-{number}", queue=QUEUES[number % len(QUEUES)])

    good = {f"good-{number}": 1 for number in range(len(bad))}
    until(lambda: len(bench.ended()) >= len(good), 60, "the end of the good tasks")
    until(lambda: bench.waiting() == 0, 60, "empty queues")
    until(lambda: dead.dead_total(bench.client) == len(bad) * len(QUEUES), 20, "the burial of each")
    assert bench.alive()
    assert bench.worker.pid == pid
    assert bench.ended() == good, "a hostile message ran, or a good one ran twice"
    assert not touched.exists(), "a pickle was read"
    assert bench.unacked() == 0, "a buried message would come back"
    assert dead.dead_count(bench.client) == len(bad) * len(QUEUES)
    said = bench.said()
    assert said.count("FAILED to read a message") == len(bad) * len(QUEUES)
    assert "Traceback" not in said
    assert "\nERROR forged line" not in said


def test_each_hostile_message_is_kept_with_its_reason(bench):
    bench.start_worker()
    for name, payload in hostile():
        before = dead.dead_total(bench.client)
        bench.push("low", payload)
        until(lambda before=before: dead.dead_total(bench.client) > before, what=f"the burial of {name}")
        newest = dead.dead_list(bench.client, 1)[0]
        assert newest.reason, name
        assert len(newest.payload) <= 4 * dead.HEAD, name
        assert abs(newest.at - time.time()) < 30, name
    assert bench.alive()


def test_unusual_but_honest_messages_of_other_clients_run(bench):
    bench.start_worker()
    for _, payload in unusual():
        bench.push("intake", payload)
    until(lambda: len(bench.ended()) == len(unusual()), what="the end of all")
    assert bench.ended() == {name: 1 for name, _ in unusual()}
    assert dead.dead_total(bench.client) == 0
    assert "\nERROR forged" not in bench.said()
    assert "\x1b" not in bench.said()


def test_the_key_prefix_of_a_shared_redis_is_kept(prefixed):
    prefixed.start_worker()
    prefixed.push("high", b"garbage", message(headers={"task": "no.such"}))
    prefixed.send("good")
    until(lambda: prefixed.ended()["good"])
    until(lambda: dead.dead_count(prefixed.client, "shared.") == 2)
    assert {entry.queue for entry in dead.dead_list(prefixed.client, 9, "shared.")} == {"high", "normal"}
    assert all(key.startswith(b"shared.") for key in prefixed.client.scan_iter())


def test_the_ledger_of_taken_messages_may_hold_anything(bench):
    """What lies in `unacked` is restored when the worker starts and now and then; malformed entries are buried."""
    good = json.loads(message(b'[["restored", 0], {}, {}]'))
    entries = {
        "garbage": b"garbage",
        "number": b"5",
        "two parts": json.dumps([good, ""]).encode(),
        "no message": json.dumps([{}, "", "low"]).encode(),
        "null headers": json.dumps([{**good, "headers": None}, "", "low"]).encode(),
        "deep": b"[" * 50_000,
        "bytes": b"\xff\xfe",
        "wrong key": json.dumps([good, "", "unacked_index"]).encode(),
        "fine": json.dumps([good, "", "low"]).encode(),
    }
    for tag, entry in entries.items():
        bench.client.hset("unacked", tag, entry)
        bench.client.zadd("unacked_index", {tag: 1})
    bench.start_worker()
    until(lambda: bench.ended()["restored"], what="the restored message")
    until(lambda: dead.dead_total(bench.client) == len(entries) - 1)
    assert bench.unacked() == 0
    assert bench.client.zcard("unacked_index") == 0
    assert bench.alive()


def test_keys_of_the_wrong_kind_are_moved_aside_or_done_without(bench):
    bench.start_worker()
    bench.client.set("critical", "no list")
    bench.client.set("unacked", "no hash")
    bench.client.set("unacked_index", "no sorted set")
    bench.client.set(dead.KEY, "no list")
    bench.push("low", b"garbage")
    for number in range(10):
        bench.send(number, queue=("high", "low")[number % 2])
    until(lambda: len(bench.ended()) == 10, what="the end of all")
    assert bench.client.get("critical.aside") == b"no list"
    assert bench.alive()
    assert set(bench.ended().values()) == {1}


def test_broadcast_garbage_is_survived(bench):
    bench.start_worker(gossip=True)
    bad = [payload for _, payload in hostile() if payload]
    for channel in ("/0.celeryev/worker.heartbeat", "/0.celery.pidbox", "/0.celeryev/x"):
        for payload in bad:
            bench.client.publish(channel, payload)
    shutdown = json.dumps({"method": "shutdown", "arguments": {}, "destination": None})
    bench.client.publish("/0.celery.pidbox", message(shutdown.encode(), headers={"clock": 1, "expires": None}))
    event = json.dumps({"type": "worker-online", "hostname": 5, "clock": "x", "timestamp": [], "pid": {}})
    route = {"delivery_info": {"exchange": "celeryev", "routing_key": "worker.online"}}
    bench.client.publish(
        "/0.celeryev/worker.online", message(event.encode(), properties=route, headers={"hostname": 5})
    )
    bench.send("after")
    until(lambda: bench.ended()["after"])
    time.sleep(0.5)
    assert bench.alive()
    assert "Connection to broker lost" not in bench.said()


def test_the_list_of_the_dead_is_bounded(bench, caplog):
    caplog.set_level(logging.CRITICAL)
    for number in range(dead.KEPT + 5):
        dead.bury(bench.client, "", "low", f"reason {number}", b"x" * 5000)
    assert dead.dead_count(bench.client) == dead.KEPT
    assert dead.dead_total(bench.client) == dead.KEPT + 5
    newest = dead.dead_list(bench.client, 1)[0]
    assert (newest.reason, newest.size, newest.payload) == (f"reason {dead.KEPT + 4}", 5000, "x" * dead.HEAD)


def test_foreign_entries_in_the_list_of_the_dead_are_shown_as_such(bench):
    bench.client.lpush(dead.KEY, b"\xff garbage", b'{"at": "x"}', b"[]")
    shown = dead.dead_list(bench.client, 10)
    assert [entry.reason for entry in shown] == ["not written by opsqueue"] * 3


@pytest.mark.parametrize(("away", "times"), [(0.2, 4), pytest.param(3.0, 1, marks=pytest.mark.long)])
def test_a_restart_of_redis_runs_nothing_twice(bench, away, times):
    bench.start_worker()
    for number in range(times):
        sent = _busy(bench, f"round-{number}")
        bench.restart_redis(away)
        bench.send(f"after-{number}")
        until(lambda sent=sent, number=number: bench.ended().keys() >= {*sent, f"after-{number}"}, 40)
    assert bench.alive()
    _once(bench)


def test_cut_connections_run_nothing_twice(bench):
    bench.start_worker()
    for number in range(5):
        sent = _busy(bench, f"cut-{number}")
        bench.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        until(lambda sent=sent: bench.ended().keys() >= set(sent), 40)
    assert bench.alive()
    _once(bench)
    until(lambda: bench.unacked() == 0, what="every acknowledgement")


def test_a_flushed_redis_loses_at_most_what_waited(bench):
    bench.start_worker()
    _busy(bench, "flushed")
    bench.client.flushall()
    bench.send("after")
    until(lambda: bench.ended()["after"], 40)
    assert bench.alive()
    _once(bench)


def test_a_full_redis_is_worked_off(bench):
    bench.start_worker()
    for number in range(30):
        bench.send(number, 0.05)
    bench.client.config_set("maxmemory", 1)
    until(lambda: len(bench.ended()) == 30, what="the end of all")
    bench.client.config_set("maxmemory", 0)
    bench.send("after")
    until(lambda: bench.ended()["after"])
    assert bench.alive()
    assert bench.unacked() == 0
    _once(bench)


def test_a_frozen_redis_is_waited_for(bench):
    bench.start_worker()
    sent = _busy(bench, "frozen")
    os.kill(bench.redis.pid, signal.SIGSTOP)
    time.sleep(3.0)
    os.kill(bench.redis.pid, signal.SIGCONT)
    until(lambda: bench.ended().keys() >= set(sent), 40)
    assert bench.alive()
    _once(bench)


def test_a_warm_shutdown_in_the_middle_of_work_runs_nothing_twice(bench):
    sent = [f"task-{number}" for number in range(60)]
    for name in sent:
        bench.send(name, 0.02)
    for round_ in range(4):
        bench.start_worker()
        until(lambda round_=round_: len(bench.ran()) > round_ * 10 + 5)
        assert bench.stop_worker() == 0
        bench.log.write_text("")
    bench.start_worker()
    until(lambda: set(bench.ended()) == set(sent), 30, "the end of every task")
    _once(bench)


def _busy(bench, name):
    """Two tasks that run, two that were taken and wait in the worker, two that wait on the queue."""
    sent = [f"{name}-{number}" for number in range(6)]
    for one in sent:
        bench.send(one, 0.5)
    until(lambda: {*sent[:2]} <= set(bench.ran()), what="the start of two tasks")
    # What Redis hands out in the very moment of a cut is lost on the wire, whoever reads it: wait until it does not.
    until(lambda: bench.unacked() == 2, what="two more that are held")
    return sent


def _once(bench):
    twice = {name: count for name, count in bench.ran().items() if count > 1}
    assert not twice, f"ran more than once: {twice}"

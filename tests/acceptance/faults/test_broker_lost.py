"""Redis flushed, restarted empty, away; messages doubled: the record is the truth, a message only a nudge."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hostile_messages import hostile
from rig import until

from opsqueue.tasks import dead
from opsqueue.tasks.broker import QUEUES

pytestmark = pytest.mark.service

SOME = 20


def _twenty_in_flight(rig):
    """Twenty operations on ten hosts: four run on every process there is, sixteen wait on their queue."""
    ids = [rig.ask(f"h{number + 1}", hold=["command-1"]) for number in range(4)]
    for one in ids:
        rig.at(one, "command-1")
    ids += [rig.ask(f"h{number % 10 + 1}") for number in range(4, SOME)]
    assert rig.queued()["normal"] >= SOME - 4 - 4  # some were taken and wait in the worker
    return ids


def _let_go_and_end(rig, ids, fault, since):
    for one in ids[:4]:
        rig.let_go(one, "command-1")
    rig.closed(*ids, seconds=60)
    rig.recovered(fault, ids, since)
    rig.sound(dict.fromkeys(ids, "succeeded"))
    assert rig.sent(ids[0], "h1") == ["1", "2"]


@pytest.fixture
def ten_hosts(make_rig):
    rig = make_rig(hosts=10, worker={"processes": 4, "in_process": False})
    rig.worker("a", ["critical", "high", "normal", "low"])
    rig.worker("b", ["intake"])
    return rig


def test_flushall_with_twenty_operations_in_flight(ten_hosts):
    ids = _twenty_in_flight(ten_hosts)
    with ten_hosts.client() as client:
        client.flushall()
    assert not any(ten_hosts.queued().values())
    _let_go_and_end(ten_hosts, ids, "FLUSHALL with 20 operations in flight", time.time())


def test_redis_restarted_empty_with_twenty_operations_in_flight(ten_hosts):
    ids = _twenty_in_flight(ten_hosts)
    ten_hosts.restart_redis(empty=True)
    _let_go_and_end(ten_hosts, ids, "Redis restarted empty with 20 operations in flight", time.time())


def test_redis_away_for_ten_seconds(ten_hosts):
    """What runs goes on meanwhile; what is asked for afterwards is taken."""
    ids = _twenty_in_flight(ten_hosts)
    ten_hosts.redis.stop()
    for one in ids[:4]:
        ten_hosts.let_go(one, "command-1")
    until(lambda: len(ten_hosts.sent(ids[0], "h1")) == 2, what="the second command, without a broker")
    time.sleep(10)  # the fault itself
    ten_hosts.restart_redis()
    since = time.time()
    ids.append(ten_hosts.ask("h1"))
    ten_hosts.closed(*ids, seconds=60)
    ten_hosts.recovered("Redis away for 10 s, after its return", ids, since)
    ten_hosts.sound(dict.fromkeys(ids, "succeeded"))


@pytest.mark.parametrize("mode", [{"in_process": True}, {"in_process": False}], ids=["one process", "six messages"])
def test_every_message_delivered_three_times(make_rig, mode):
    rig = make_rig(hosts=4, worker={"processes": 4, **mode})
    (rig.directory / "thrice").touch()
    rig.worker("a")
    rig.worker("b")
    ids = [rig.ask(f"h{number % 4 + 1}") for number in range(12)]
    ids += _asked_by_others(rig)
    rig.closed(*ids, seconds=60)
    rig.sound(dict.fromkeys(ids, "succeeded"))
    with rig.store.read() as connection:
        assert len(list(connection.exec_driver_sql("SELECT id FROM operations"))) == len(ids)


def _asked_by_others(rig):
    """Requests without an id of their own, from a foreign producer that sends each message three times."""
    for number in range(3):
        request = {"name": "foreign", "type": "tally_change", "target_systems": [f"h{number + 1}"]}
        request["parameters"] = {"key": f"foreign-{number}"}
        for _ in range(3):
            rig.sender.app.send_task("opsqueue.submit", args=[request], queue="intake", task_id=f"foreign-{number}")
    return until(lambda: _foreign(rig) if len(_foreign(rig)) >= 3 else None, what="the foreign requests")


def _foreign(rig):
    with rig.store.read() as connection:
        return [row[0] for row in connection.exec_driver_sql("SELECT id FROM operations WHERE name = 'foreign'")]


def test_malformed_messages_on_every_queue_while_twenty_operations_run(ten_hosts):
    """Each is buried, none harms the worker."""
    ids = _twenty_in_flight(ten_hosts)
    mains = _mains(ten_hosts)
    bad = hostile(str(ten_hosts.directory / "pickled"))
    with ten_hosts.client() as client:
        for _, payload in bad:
            for queue in QUEUES:
                client.lpush(queue, payload)
        _let_go_and_end(ten_hosts, ids, "hundreds of malformed messages with 20 operations in flight", time.time())
        until(lambda: dead.dead_total(client) == len(bad) * len(QUEUES), what="the burial of each")
    assert _mains(ten_hosts) == mains
    assert len(mains) == 2
    assert not (ten_hosts.directory / "pickled").exists()


def _mains(rig):
    return {name: process.pid for part in rig.parts for name, process in part.mains.items()}


def test_a_request_whose_message_was_lost_is_asked_again(rig):
    """The client waits for a receipt; without one it sends the same message again, and that is the same operation."""
    with ThreadPoolExecutor(1) as pool, rig.client() as client:
        receipt = pool.submit(rig.ask, "h1")
        until(lambda: client.llen("intake"), what="the request")
        since = time.time()
        client.flushall()
        rig.worker()
        asked = receipt.result(60)
    rig.closed(asked)
    rig.recovered("FLUSHALL while a request waits for a worker, its client waiting for the receipt", [asked], since)
    rig.sound({asked: "succeeded"})


def test_a_request_that_a_busy_worker_left_in_the_intake_is_taken_by_another(rig):
    """Nobody waits for its receipt: a busy worker takes nothing into its hands, so nothing is lost with it."""
    worker = rig.worker("a")
    busy = [rig.ask(f"h{number}", hold=["command-1"]) for number in (1, 2)]
    for one in busy:
        rig.at(one, "command-1")
    asked = [rig.ask(f"h{number}", wait=False) for number in (3, 4)]
    with rig.client() as client:
        until(lambda: client.llen("intake") == len(asked), what="the requests in the intake")
        time.sleep(1)  # long enough for a worker that would take them
        assert (client.llen("intake"), _taken(client) & set(asked)) == (len(asked), set())
    since = time.time()
    worker.kill()
    for one in busy:
        rig.let_go(one, "command-1")
    rig.worker("b")
    until(lambda: rig.known(asked), what="the requests in the record")
    rig.closed(*asked, *busy)
    rig.recovered("kill -9 of a busy worker, requests in the intake that nobody waits for", asked, since)
    rig.sound({**dict.fromkeys(asked, "succeeded"), **dict.fromkeys(busy, "rolled_back")})


def _taken(client):
    messages = [json.loads(entry)[0] for entry in client.hvals("unacked")]
    return {message["headers"]["argsrepr"].strip("()',") for message in messages}

"""What happens by the clock: two Beats and each slot once; Flower shows it all; Ctrl-C ends everything."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from datetime import datetime

import pytest
from celery import Celery
from place import SIX, free_port, stages, until

from opsqueue.embedded.redis import running, socket_of

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("clock")]

SELDOM_S = 20
EVERY = {"type": "health_check", "every": 1, "systems": ["web-server-1"]}
CANARY = "canary-4711"
PARAMETERS = {"checks": [{"kind": "process", "name": "bird", "process": CANARY}]}


@pytest.fixture
def city(make_place):
    """A running system with Flower, and a second Beat beside it."""
    place = make_place(
        flower={"port": free_port()},
        monitoring_interval=2,
        schedule={"every-second": EVERY, "seldom": {**EVERY, "every": SELDOM_S}, "health-check": False},
    )
    place.up = place.start("opsqueue", "up")
    until(lambda: running(place.state / "redis"), what=lambda: place.said(place.up))
    place.second = place.start("opsqueue", "beat")
    until(lambda: _get(place, "/healthcheck")[0] == 200, what=lambda: place.said(place.up))
    return place


def _get(place, path, data=None):
    url = f"http://127.0.0.1:{place.settings['flower']['port']}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def test_the_clock_flower_and_the_end(city):
    began = time.time()
    operation_id = _asked(city)
    foreign_id = _asked_from_elsewhere(city)
    _flower_shows(city, operation_id, foreign_id)
    _flower_changes_nothing(city)
    _out_of_turn(city)
    time.sleep(max(0.0, 6 - (time.time() - began)))
    _each_slot_once(city)
    _at_the_slot_itself(city, began)
    city.second.send_signal(signal.SIGINT)
    assert city.second.wait(20) == 0
    city.up.send_signal(signal.SIGINT)
    assert city.up.wait(30) == 0
    city.ended_by_itself(5)
    assert not running(city.state / "redis")
    assert "starts again" not in city.log()
    _what_was_begun_is_done_or_waits(city)


def _asked(city):
    more = ("--parameters", json.dumps(PARAMETERS), "--priority", "high", "--wait", "--output", "json")
    words = ("--name", "look-here", "--type", "health_check", "--systems", "web-server-1", "api-server-1")
    data = city.ops("execute", *words, *more).json
    assert stages(data) == SIX
    assert CANARY in json.dumps(data["findings"])
    return data["operation_id"]


def _asked_from_elsewhere(city):
    """By a plain Celery client, which tells the arguments of its message to whoever listens."""
    request = {"name": "foreign", "type": "health_check", "target_systems": ["all"], "parameters": PARAMETERS}
    url = f"redis+socket://{socket_of(city.state / 'redis')}"
    with Celery(broker=url, backend=url, set_as_current=False) as app:
        receipts = [
            app.send_task("opsqueue.submit", args=[{**request, "parameters": parameters}], queue="intake").get(
                timeout=20
            )
            for parameters in ({"password": CANARY}, PARAMETERS)
        ]
    assert [receipt["accepted"] for receipt in receipts] == [False, True]
    return receipts[1]["operation_id"]


def _tasks(city):
    """What the page with the tasks shows; the answer to the browser's own question."""
    order = "order%5B0%5D%5Bcolumn%5D=0&order%5B0%5D%5Bdir%5D=asc&columns%5B0%5D%5Bdata%5D=name"
    status, text = _get(city, f"/tasks/datatable?draw=1&start=0&length=500&search%5Bvalue%5D=&{order}")
    assert status == 200, text
    return json.loads(text)["data"]


def _flower_shows(city, operation_id, foreign_id):
    """All six tasks under names that people can read, and nobody's parameters."""
    wanted = [f"opsqueue.{stage} look-here (health_check on 2 systems)" for stage in SIX]

    def shown():
        return [task for task in _tasks(city) if operation_id in (task["args"] or "")]

    done = until(
        lambda: (all_of := [task for task in shown() if task["state"] == "SUCCESS"]) and len(all_of) >= 7 and all_of,
        what=lambda: f"seven tasks in {shown()}",
    )
    assert Counter(task["name"] for task in done) == Counter(["opsqueue.submit look-here", *wanted])
    assert {task["args"] for task in done} == {f"({operation_id!r},)"}
    assert {task["kwargs"] for task in done} == {"{}"}
    until(lambda: [task for task in _tasks(city) if foreign_id in (task["args"] or "") and "notify" in task["name"]])
    assert CANARY not in json.dumps(_tasks(city))
    for task in _tasks(city):
        assert CANARY not in _get(city, f"/task/{task['uuid']}")[1]


def _flower_changes_nothing(city):
    for path in ("/api/task/revoke/x", "/api/worker/shutdown/x", "/api/worker/pool/restart/x", "/api/task/apply/x"):
        assert _get(city, path, b"")[0] in {401, 403, 405}


def _out_of_turn(city):
    """What an entry asks for, asked for by a person: it takes nobody's slot."""
    done = city.ops("schedule", "run", "every-second", "--reason", "by hand", "--wait", "--output", "json")
    assert (done.code, done.json["name"], done.json["reason"]) == (0, "every-second", "by hand"), done.err
    assert not done.json["requested_by"].startswith("schedule:")


def _each_slot_once(city):
    """By name, the moments at which they were asked for lie in slots that differ."""
    ended = city.ops("history", "--limit", "1000", "--output", "json").json["operations"]
    for name, every, least in (("every-second", 1, 4), ("system-monitoring", 2, 2)):
        slots = [
            datetime.fromisoformat(one["created_at"]).timestamp() // every
            for one in ended
            if one["requested_by"] == f"schedule:{name}"
        ]
        assert len(slots) >= least
        assert len(slots) == len(set(slots))
        assert {one["status"] for one in ended if one["name"] == name} == {"succeeded"}


def _at_the_slot_itself(city, began):
    """Not up to one period later: the phase is that of the clock, not of Beat's own start."""

    def asked():
        ended = city.ops("history", "--limit", "1000", "--output", "json").json["operations"]
        moments = [datetime.fromisoformat(one["created_at"]).timestamp() for one in ended if one["name"] == "seldom"]
        return [at for at in moments if at > began]

    late = [at % SELDOM_S for at in until(asked, SELDOM_S + 60, what="an operation of the entry `seldom`")]
    assert max(late) < SELDOM_S / 2, late  # some ms; the rest is for a machine that is busy


def _what_was_begun_is_done_or_waits(city):
    """Nothing is left half done by the end of it."""
    active = city.ops("status", "--output", "json").json["operations"]
    between = {"pending", "waiting", "notifying", "collecting", "analyzing"}
    for one in active:
        if one["status"] not in between:  # it may rest before its first question, too
            shown = city.ops("show", one["operation_id"], "--output", "json").json
            assert not any(target["started_at"] for target in shown["targets"]), shown

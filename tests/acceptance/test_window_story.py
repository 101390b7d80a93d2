"""A change asked for outside its window: it waits, says until when, cannot be forced, goes when the window opens."""

from __future__ import annotations

import json
import time
from datetime import datetime

import pytest
from celery import Celery
from place import CHANGE, SIX, closed_now, opening, service_pid, stages, until, with_service

from opsqueue.embedded.redis import running, socket_of
from opsqueue.model.names import Stage
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.dispatch import reconcile
from opsqueue.settings import load

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("window")]


def test_a_change_outside_its_window(make_place):
    place = with_service(make_place(maintenance_windows={"nightly": closed_now()}, worker={"renudge_seconds": 0.2}))
    pid, opens = service_pid(place), opening(time.time())
    up = place.start("opsqueue", "up", "--no-flower")
    until(lambda: running(place.state / "redis"), what=lambda: place.said(up))
    first = _asked(place)
    _waits_until(place, first, opens)
    others = _tried_by_force(place, first)
    assert service_pid(place) == pid
    for operation_id in (first, *others.values()):
        _waits(place, operation_id)
    up.terminate()
    up.wait(30)
    _goes_when_it_opens(place, first, others, opens)
    assert service_pid(place) != pid


def _asked(place, *more):
    done = place.ops("execute", *CHANGE, *more, "--output", "json")
    assert done.code == 0, done.err
    return done.json["operation_id"]


def _waits(place, operation_id):
    data = until(lambda: (data := place.show(operation_id))["waits_for"] and data, what="a hold")
    assert data["status"] == "waiting"
    assert "maintenance_window" in data["waits_for"]
    assert [target["steps"] for target in data["targets"]] == [[]]


def _waits_until(place, operation_id, opens):
    """Both commands name the gate, the window and when it opens."""
    _waits(place, operation_id)
    (reason,) = place.ops("why", operation_id, "--output", "json").json["reasons"]
    assert (reason["who"], reason["verdict"]) == ("maintenance_window", "hold")
    assert datetime.fromisoformat(reason["until"]).timestamp() == opens
    assert place.ops("status", operation_id, "--output", "json").json["why"] == [reason]
    assert reason["until"][:13].replace("T", " ") in place.ops("why", operation_id).out
    (listed,) = place.ops("status", "--output", "json").json["operations"]
    assert listed["due_at"] == reason["until"]


def _tried_by_force(place, first):
    """Every other way in: an own window, another id, priority critical, retry, plain Celery, and doubled nudges."""
    hour = time.gmtime().tm_hour
    always = f"{(hour - 1) % 24:02}:00-{(hour + 2) % 24:02}:00"
    others = {"own window": _asked(place, "--window", always), "critical": _asked(place, "--priority", "critical")}
    assert place.ops("retry", first, "--yes").code == 0
    url = f"redis+socket://{socket_of(place.state / 'redis')}"
    with Celery(broker=url, backend=url, set_as_current=False) as app:
        request = {"name": "x", "type": "service_restart", "target_systems": ["web-server-1"], "priority": "critical"}
        receipt = app.send_task("opsqueue.submit", args=[request], queue="intake").get(timeout=20)
        assert receipt["accepted"], receipt
        others["plain Celery"] = receipt["operation_id"]
        for operation_id in (first, *others.values()):
            for stage in SIX:
                for queue in ("normal", "critical"):
                    app.send_task(f"opsqueue.{stage}", args=[operation_id], queue=queue)
        lengths = ("intake", "critical", "high", "normal", "low")
        with app.connection_for_write() as connection:
            client = connection.default_channel.client
            until(lambda: not any(client.llen(queue) for queue in lengths), what="that all of it was taken")
    time.sleep(1.5)  # the reconciler, and whoever took the last one
    return others


def _goes_when_it_opens(place, first, others, opens):
    """The same record, worked with a clock that is handed in."""
    nudged, clock = [], [opens - 1]
    world = assemble(load(str(place.config)), dispatch=nudged.append, worker="story", now=lambda: clock[0])
    try:
        assert reconcile(world) == 0
        assert advance(world, first, Stage.WINDOW, go_on=True) is None
        _waits(place, first)
        clock[0] = opens + 1
        # Not the one with a window of its own: that narrows, and never widens.
        assert reconcile(world) == 3
        assert {operation.id for operation in nudged} == {first, others["critical"], others["plain Celery"]}
        for operation in tuple(nudged):
            advance(world, operation.id, operation.stage, go_on=True)
    finally:
        world.store.close()
    for operation_id in (first, others["critical"], others["plain Celery"]):
        data = place.show(operation_id)
        assert (data["status"], stages(data)[-4:]) == ("succeeded", SIX[2:]), json.dumps(data["stages"])
        assert [step["exit_code"] for step in data["targets"][0]["steps"]] == [0]
    _waits(place, others["own window"])

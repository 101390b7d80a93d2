"""Deployment events through a real Redis and real workers: healthy, led back, told twice, and a system killed."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from uuid import uuid4

import psutil
import pytest
from celery import Celery
from place import free_port, service_pid, until, with_service

from opsqueue.embedded.redis import running, socket_of

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("deployments")]
QUICK = {"lease_seconds": 2, "renudge_seconds": 0.2}


@contextmanager
def listener(*, silent=False):
    """A port that somebody answers on; a silent one takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def serve():
            with suppress(OSError):
                while True:
                    peer, _where = server.accept()
                    kept.append(peer) if silent else peer.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        for peer in kept:
            peer.close()


def tcp(port, **more):
    return {"checks": [{"kind": "tcp", "name": "shop", "host": "127.0.0.1", "port": port, **more}]}


def told_of(checks):
    """The configuration of the service: its check, and the restart that leads back."""
    leads_back = {"type": "service_restart", "parameters": {"service_name": "web"}}
    return {"deployments": {"shop": {"health_check": checks, "rollback": leads_back}}, "worker": QUICK}


def started(place):
    up = place.start("opsqueue", "up", "--no-flower")
    until(lambda: running(place.state / "redis"), what=lambda: place.said(up))
    return up


def send(place, event, count=1):
    """As any system would: a plain Celery client; the receipts."""
    url = f"redis+socket://{socket_of(place.state / 'redis')}"
    with Celery(broker=url, backend=url, set_as_current=False) as app:
        sent = [app.send_task("opsqueue.deployment_event", args=[event], queue="intake") for _ in range(count)]
        return [one.get(timeout=30) for one in sent]


def an_event(**more):
    return {"service": "shop", "version": "2", "systems": ["web-server-1"], "event_id": str(uuid4()), **more}


def over(place, event):
    def shown():
        data = place.ops("deployments", "show", event["event_id"], "--output", "json").json
        return data if data["finished_at"] else None

    return until(shown, 90, "the end of the deployment")


def asked_for(place):
    """The types of all operations that a deployment asked for."""
    lists = [place.ops(word, "--output", "json").json["operations"] for word in ("history", "status")]
    return sorted(one["type"] for some in lists for one in some if one["requested_by"] == "deployment:shop")


def test_a_healthy_deployment_is_monitored_from_then_on(make_place):
    with listener() as port:
        often = {"look": {"type": "health_check", "every": 1, "systems": ["web-server-1"]}}
        place = make_place(**told_of(tcp(port)), schedule={"health-check": False, **often})
        started(place)
        event = an_event(requested_by="ci", reason="release 2")
        receipts = send(place, event, count=3)
        assert {(one["accepted"], one.get("event_id")) for one in receipts} == {(True, event["event_id"])}, receipts
        ended = over(place, event)
        assert (ended["state"], ended["requested_by"]) == ("healthy", "ci")
        assert asked_for(place) == ["health_check"]
        check = place.show(ended["health_check_id"])
        assert set(check["metrics"]["web-server-1"]) >= {"up", "state:shop", "response_time:shop"}
        until(lambda: "state:shop" in newest(place), 60, "the recurring health check with the check of the service")
        assert newest(place) >= {"state:shop", "state:disk", "state:memory"}
        assert place.ops("deployments", "forget", "shop", "--output", "json").json["forgotten"] == ["web-server-1"]
        assert place.ops("deployments", "forget", "shop").code == 10
        until(lambda: "state:disk" in newest(place) and "state:shop" not in newest(place), 60, "one without it")


def newest(place):
    """The metrics of the last recurring health check."""
    listed = place.ops("history", "--requested-by", "schedule:look", "--limit", "1", "--output", "json").json
    ids = [one["operation_id"] for one in listed["operations"]]
    return set(place.show(ids[0])["metrics"].get("web-server-1", ())) if ids else set()


def test_a_failed_check_restarts_what_was_there_before(make_place):
    place = with_service(make_place(**told_of(tcp(free_port()))))
    pid = service_pid(place)
    started(place)
    event = an_event()
    send(place, event, count=2)
    ended = over(place, event)
    assert ended["state"] == "rolled_back"
    assert "refused" in ended["why"]
    assert service_pid(place) not in {None, pid}
    after = service_pid(place)
    (again,) = send(place, event)
    assert (again["state"], again["rollback_id"]) == ("rolled_back", ended["rollback_id"])
    assert asked_for(place) == ["health_check", "service_restart"]
    assert service_pid(place) == after
    (other,) = send(place, {**event, "version": "3"})
    assert (other["accepted"], other["error"]["code"]) == (False, "conflict")
    listed = place.ops("deployments", "list", "--service", "shop").out
    assert "rolled_back" in listed
    assert event["event_id"][:8] in listed


def test_a_system_that_is_killed_in_the_middle_goes_on_and_leads_back_once(make_place):
    with listener(silent=True) as port:
        slow = tcp(port, send="hello", expect="never", timeout_s=6)
        place = with_service(make_place(**told_of(slow)))
        pid = service_pid(place)
        started(place)
        event = an_event()
        (receipt,) = send(place, event)
        until(lambda: place.show(receipt["health_check_id"])["stage"] == "execute", what="the check to run")
        for process in place.system():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        until(lambda: not place.system(), what="the end of the system")
        assert place.ops("deployments", "show", event["event_id"], "--output", "json").json["state"] == "checking"
        started(place)
        ended = over(place, event)
        assert ended["state"] == "rolled_back"
        assert asked_for(place) == ["health_check", "service_restart"]
        assert service_pid(place) not in {None, pid}
        (target,) = place.show(ended["rollback_id"])["targets"]
        assert target["changed"] is True


def test_what_cannot_be_honoured_is_refused_with_a_receipt(make_place):
    place = make_place(**told_of(tcp(free_port())))
    started(place)
    for event, code in (
        (an_event(systems=["nowhere"]), "not_found"),
        (an_event(rollback={"type": "no_such"}), "not_found"),
        ({"service": "shop"}, "invalid_request"),
        ("no event", "invalid_request"),
        (None, "invalid_request"),
    ):
        (receipt,) = send(place, event)
        assert (receipt["accepted"], receipt["error"]["code"]) == (False, code)
    assert place.ops("deployments", "list", "--output", "json").json == {"deployments": []}


PYTHON = """\
import asyncio
import json
import sys
import time

from opsqueue import OperationsMCP
from opsqueue.errors import Conflict

told = json.loads(sys.argv[1])
operations_mcp = OperationsMCP()


async def main():
    first = await operations_mcp.deployment_event(**told)
    again = operations_mcp.sync.deployment_event(**told)
    assert again["health_check_id"] == first["health_check_id"]
    try:
        await operations_mcp.deployment_event(**{**told, "version": "other"})
    except Conflict:
        pass
    else:
        raise AssertionError("another event of the same id was taken")
    while not (now_is := await operations_mcp.deployment(told["event_id"]))["finished_at"]:
        await asyncio.sleep(0.2)
    return now_is


print(json.dumps(asyncio.run(main())))
"""


def test_from_python_without_a_running_system(make_place):
    """The embedded system stays as long as the deployment goes on."""
    with listener() as port:
        place = make_place(**told_of(tcp(port)))
        script = place.directory / "told.py"
        script.write_text(PYTHON)
        done = place.run(sys.executable, str(script), json.dumps(an_event()), cwd=place.directory)
        assert done.code == 0, done.err
        assert done.json["state"] == "healthy"
        assert "@" in done.json["requested_by"]
        place.ended_by_itself(60)

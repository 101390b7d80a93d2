"""External verification coordinators: a real HTTP service, and somebody's Python object."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from opsqueue.errors import InvalidConfig
from opsqueue.model.names import OperationPriority
from opsqueue.model.plan import Command, Plan, Step
from opsqueue.model.record import Operation, Target
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.coordinators import ask_all
from opsqueue.settings import Settings

OPERATION = Operation(id="op-1", name="restart", type="service_restart", priority=OperationPriority.NORMAL)
PLAN = Plan(steps=(Step(title="restart", command=Command(argv=("systemctl", "restart", "--", "nginx"))),))
TARGETS = (Target(operation_id="op-1", host="localhost", plan=PLAN),)


class Judge:
    """A `VerificationCoordinator` that remembers what it was asked."""

    asked: list = []  # noqa: RUF012  # shared by all instances on purpose: the setting names the class

    async def coordinate_verification(self, kind, context):
        self.asked.append((kind, context))
        return {"overall_status": "PASSED"}


class Sleeper:
    async def coordinate_verification(self, kind, context):
        await asyncio.sleep(30)


@pytest.fixture
def service():
    """An HTTP coordinator: `answers` is what it says next, `seen` what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            server.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = server.answer
            time.sleep(server.delay)
            with suppress(BrokenPipeError):  # one who asked may be tired of waiting
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.seen, server.delay = (200, b'{"overall_status": "PASSED"}'), [], 0
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def world_with(tmp_path, **coordinator):
    settings = Settings(state_dir=tmp_path, verification=({"name": "theirs", **coordinator},))
    return assemble(settings, dispatch=lambda operation: None, worker="test")


def ask(world):
    return ask_all(world, OPERATION, "digest-1", TARGETS)[-1]


def url(server):
    return f"http://127.0.0.1:{server.server_port}/verify"


def test_a_service_is_sent_the_plan_and_its_digest(tmp_path, service):
    answer = ask(world_with(tmp_path, url=url(service)))
    assert (answer.coordinator, answer.status, answer.digest, answer.reached) == ("theirs", "PASSED", "digest-1", True)
    sent = service.seen[0]
    assert sent["kind"] == "service_restart"
    assert sent["context"]["digest"] == "digest-1"
    assert sent["context"]["plans"]["localhost"][0]["argv"] == ["systemctl", "restart", "--", "nginx"]


@pytest.mark.parametrize(
    ("answer", "reached", "status", "why"),
    [
        ((200, b'{"overall_status": "FAILED", "problems": ["not on a Friday"]}'), True, "FAILED", "not on a Friday"),
        ((500, b"oh"), False, "", "500"),
        ((200, b"not JSON"), False, "", "cannot be used"),
        ((200, b"[]"), False, "", "something else than an object"),
        ((200, b"{}"), False, "", "overall_status"),
    ],
    ids=["failed", "error", "no-json", "no-object", "no-status"],
)
def test_only_a_clear_passed_lets_go(tmp_path, service, answer, reached, status, why):
    service.answer = answer
    said = ask(world_with(tmp_path, url=url(service)))
    assert (said.reached, said.status) == (reached, status)
    assert why in said.why


def test_a_service_that_is_away_or_silent_is_not_reached(tmp_path, service):
    service.delay = 2
    silent = ask(world_with(tmp_path, url=url(service), timeout=0.2))
    away = ask(world_with(tmp_path, url="http://127.0.0.1:1/verify"))
    assert (silent.reached, away.reached) == (False, False)
    assert silent.why in {"timed out", "no answer within 0.2 s"}
    assert "refused" in away.why


def test_a_python_coordinator_is_asked_and_bounded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(__file__).rsplit("/", 1)[0])
    said = ask(world_with(tmp_path, python="test_coordinators:Judge"))
    assert said.status == "PASSED"
    slow = ask(world_with(tmp_path, python="test_coordinators:Sleeper", timeout=0.1))
    assert (slow.reached, slow.why) == (False, "it did not answer within 0.1 s")


def test_a_python_coordinator_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(InvalidConfig, match="nowhere:Judge cannot be loaded"):
        world_with(tmp_path, python="nowhere:Judge")

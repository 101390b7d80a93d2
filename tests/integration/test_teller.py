"""The teller's own threads: a channel that does not answer holds up no other, and its own recipients only a little."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from opsqueue.model.names import Severity
from opsqueue.notify.message import Message
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.telling import enqueue
from opsqueue.settings import Settings
from opsqueue.store import tellings
from opsqueue.store.upgrade import upgrade
from opsqueue.tasks.teller import keep_telling

MESSAGE = Message(title="t", body="b", severity=Severity.WARNING, payload={}, short="s")
_LONG = 60.0


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(self.headers["X-Opsqueue-Event"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_args):
        pass


@pytest.fixture
def hook():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def until(true):
    end = time.monotonic() + _LONG
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def test_a_channel_that_does_not_answer_holds_up_no_other(tmp_path, hook):
    url = f"http://127.0.0.1:{hook.server_port}/"
    settings = Settings(state_dir=tmp_path, notification_channels={"webhook": url, "slow": url})
    answers = threading.Event()
    world = assemble(settings, dispatch=lambda _operation: None, worker="w")
    world = replace(world, tell=partial(slowly, world.tell, answers))
    upgrade(world.store)
    for number in range(5):
        say(world, f"e{number}", "slow", "webhook")
    stopping = threading.Event()
    teller = threading.Thread(target=keep_telling, args=(world, stopping))
    teller.start()
    try:
        until(lambda: len(hook.got) == 5)
        say(world, "later", "webhook")
        until(lambda: "later:webhook" in hook.got)
        assert [tried(world, f"e{number}")["slow"] for number in (0, 4)] == [("sending", 1), ("queued", 0)]
        answers.set()
        until(lambda: tried(world, "e4")["slow"] == ("accepted", 1))
    finally:
        answers.set()
        stopping.set()
        teller.join()
        until(lambda: not any(thread.name.startswith("telling-") for thread in threading.enumerate()))
        world.store.close()
    assert sorted(hook.got) == sorted({*hook.got})


def slowly(tell, answers, channel, message, event_id):
    """As with a server that takes its time, on one channel of two."""
    assert channel != "slow" or answers.wait(_LONG)
    return tell(channel, message, event_id)


def say(world, event, *channels):
    with world.store.begin() as tx:
        assert enqueue(tx, world, MESSAGE, event_id=event, channels=channels)


def tried(world, event):
    with world.store.read() as connection:
        return {row.channel: (row.status, row.attempts) for row in tellings.of(connection, event)}

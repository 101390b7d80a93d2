"""Webhooks over real connections: the real command, and the door alone where its limits are made small."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from opsqueue.errors import DatabaseUnreachable
from opsqueue.store import alerts
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade
from opsqueue.tasks.receiver_door import Door, Limits

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef0123456789abcdef"
LONG = 120
"""Seconds that the slowest machine may take; nothing waits for their end."""


def webhook(name="Down", status="firing", ends="0001-01-01T00:00:00Z", **more):
    alert = {
        "status": status,
        "labels": {"alertname": name, "instance": "db-1:9100", "severity": "critical"},
        "annotations": {"summary": "gone"},
        "startsAt": "2027-01-15T08:00:00Z",
        "endsAt": ends,
    }
    return json.dumps({"version": "4", "alerts": [alert], **more}).encode()


def ask(port, method="POST", path="/alertmanager", body=None, **headers):
    """The status and the JSON of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    try:
        connection.request(method, path, body=body, headers={n.replace("_", "-"): v for n, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or "null")
    finally:
        connection.close()


def everything(connection):
    """All that comes until the other side ends; a reset is an end too."""
    got = b""
    try:
        while more := connection.recv(65_536):
            got += more
    except ConnectionError:
        pass
    return got


@dataclass
class Receiver:
    """`opsqueue alerts receive --listen`."""

    process: subprocess.Popen
    port: int
    said: list[str]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.said += self.process.stderr.read().splitlines()
        return self.process.wait(LONG)


@dataclass
class Room:
    folder: Path
    settings: dict = field(default_factory=dict)

    @property
    def file(self):
        return self.folder / "state" / "opsqueue.db"

    def record(self):
        store = Store(f"sqlite:///{self.file}")
        upgrade(store)
        return store

    def alerts(self):
        store = Store(f"sqlite:///{self.file}")
        with store.read() as connection:
            found = alerts.active(connection)
        store.close()
        return [(one.labels["alertname"], one.host, one.state.value) for one in found]

    def run(self, *words):
        config = self.folder / "opsqueue.json"
        config.write_text(json.dumps({"state_dir": str(self.folder / "state"), **self.settings}))
        argv = [sys.executable, "-m", "opsqueue", "--config", str(config), "alerts", "receive", *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    @contextmanager
    def listening(self, *words):
        process, said = self.run("--listen", "127.0.0.1:0", *words), []
        try:
            for line in process.stderr:
                said.append(line.rstrip())
                if "are taken at" in line:
                    break
            assert "are taken at" in said[-1], said
            yield Receiver(process, int(said[-1].rpartition(":")[2].partition("/")[0]), said)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stderr.close()
            process.stdout.close()


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path)


@pytest.fixture
def filled(room):
    room.record().close()
    return room


def test_what_alertmanager_posts_is_in_the_record_when_it_is_answered(filled):
    with filled.listening() as receiver:
        assert ask(receiver.port, "GET", "/healthz") == (200, {"status": "ok"})
        assert ask(receiver.port, body=webhook()) == (200, {"changed": 1})
        assert filled.alerts() == [("Down", "db-1", "firing")]
        assert ask(receiver.port, body=webhook()) == (200, {"changed": 0}), "the same once more changes nothing"
        over = webhook(status="resolved", ends="2027-01-15T09:00:00Z")
        assert ask(receiver.port, body=over) == (200, {"changed": 1})
        assert filled.alerts() == []


def test_what_is_no_webhook_is_said_to_be_none(filled):
    with filled.listening() as receiver:
        for body, said in (
            (b"{", "no JSON"),
            (b"[]", "JSON object"),
            (b'{"version": "3", "alerts": []}', "version"),
            (b"\xff\x00" * 50, "no JSON"),
            (b"", "no JSON"),
        ):
            status, answer = ask(receiver.port, body=body, Content_Length=str(len(body)))
            assert (status, said in answer["error"]) == (400, True), answer
        assert ask(receiver.port, "GET")[0] == 405
        assert ask(receiver.port, "PUT", body=b"x")[0] == 405
        assert ask(receiver.port, path="/")[0] == 404
        assert ask(receiver.port, "BREW")[0] == 501
        assert ask(receiver.port, body=webhook(), Origin="http://example.com")[0] == 403
        assert filled.alerts() == []
        assert ask(receiver.port, body=webhook())[0] == 200, "and it goes on"


def test_a_huge_body_is_refused_whether_it_comes_or_not(filled):
    with filled.listening() as receiver:
        status, answer = ask(receiver.port, body=b"x" * 3_000_000)
        assert (status, "at most 1000000 bytes" in answer["error"]) == (413, True)
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=LONG) as liar:
            liar.sendall(b"POST /alertmanager HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n")
            assert everything(liar).startswith(b"HTTP/1.1 413 ")
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=LONG) as polite:
            polite.sendall(
                b"POST /alertmanager HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
            )
            assert everything(polite).startswith(b"HTTP/1.1 413 "), "before it sends any of it"
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=LONG) as one:
            head = f"POST /alertmanager HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {len(webhook())}\r\n\r\n"
            one.sendall(head.encode())
            assert one.recv(100).startswith(b"HTTP/1.1 100 ")
            one.sendall(webhook())
            assert b'{"changed": 1}' in everything(one)


@pytest.mark.parametrize("by", ["file", "configuration"])
def test_without_the_token_nothing_is_taken(filled, by):
    file = filled.folder / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    words = ("--token-file", str(file)) if by == "file" else ()
    if by == "configuration":
        filled.settings["alerts"] = {"receive_token": {"$secret": f"file:{file}"}}
    with filled.listening(*words) as receiver:
        assert ask(receiver.port, body=webhook())[0] == 401
        assert ask(receiver.port, body=webhook(), Authorization=f"Bearer {TOKEN[:-1]}x")[0] == 401
        assert ask(receiver.port, body=b"x" * 2_000_000, Authorization="Bearer x")[0] == 401
        assert filled.alerts() == []
        assert ask(receiver.port, "GET", "/healthz")[0] == 200
        assert ask(receiver.port, body=webhook(), Authorization=f"Bearer {TOKEN}") == (200, {"changed": 1})
        assert receiver.end() == 0
        assert TOKEN not in "".join(path.read_text() for path in filled.folder.rglob("*.log"))


def test_while_the_record_is_away_the_sender_is_to_try_again(room):
    with room.listening() as receiver:
        assert "there is no record yet" in receiver.said[0]
        assert ask(receiver.port, "GET", "/healthz")[0] == 503
        assert ask(receiver.port, body=webhook())[0] == 503
        assert not room.file.exists(), "and none is made by asking"
        room.record().close()
        assert ask(receiver.port, body=webhook()) == (200, {"changed": 1})
        shutil.move(room.file, room.folder / "away")
        assert ask(receiver.port, body=webhook("Other"))[0] == 503
        shutil.move(room.folder / "away", room.file)
        assert ask(receiver.port, body=webhook("Other")) == (200, {"changed": 1})


def test_while_the_server_of_the_record_is_down_nothing_is_told_about_it(room):
    room.settings["database_url"] = f"postgresql+psycopg://opsqueue@/opsqueue?host={room.folder}"
    with room.listening() as receiver:
        assert "the database cannot be used" in receiver.said[0]
        status, answer = ask(receiver.port, body=webhook())
        assert (status, str(room.folder) in json.dumps(answer)) == (503, False)
        assert receiver.end() == 0
        assert "FAILED to use the record" in (room.folder / "state" / "logs" / "operations.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_peace(filled, number):
    with filled.listening() as receiver:
        port = receiver.port
        assert ask(port, body=webhook())[0] == 200
        assert receiver.end(number) == 0
        assert receiver.said[1:] == []
        with pytest.raises(ConnectionRefusedError):
            ask(port, body=webhook())
    assert filled.alerts() == [("Down", "db-1", "firing")]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells the threads of a process")
def test_it_ends_whichever_of_its_threads_gets_the_signal(filled):
    with filled.listening() as receiver:
        assert ask(receiver.port, "GET", "/healthz")[0] == 200
        main = receiver.process.pid
        other = max(int(one.name) for one in Path(f"/proc/{main}/task").iterdir())
        assert other != main
        os.kill(other, signal.SIGTERM)  # Linux lets the thread of that number have it
        assert receiver.process.wait(LONG) == 0


def test_who_is_slow_holds_up_nobody_else(filled):
    with filled.listening() as receiver:
        slow = [socket.create_connection(("127.0.0.1", receiver.port), timeout=LONG) for _ in range(5)]
        for one in slow:
            one.sendall(b"POST /alertmanager HTTP/1.1\r\nContent-Length: 500\r\n\r\n{")
        assert ask(receiver.port, body=webhook()) == (200, {"changed": 1})
        slow[0].shutdown(socket.SHUT_WR)
        assert b"the body ended after 1 of 500 bytes" in everything(slow[0])
        for one in slow:
            one.close()
        assert receiver.end() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "0.0.0.0:0"), "--token-file"),
        (("--listen", "9095"), "HOST:PORT"),
        (("--listen", "127.0.0.1:0", "x.json"), "either FILE"),
        ((), "either FILE"),
        (("x.json", "--token-file", "x"), "goes with --listen"),
        (("--listen", "127.0.0.1:0", "--token-file", "/nowhere/token"), "cannot be read"),
    ],
)
def test_what_it_does_not_do(filled, words, said):
    process = filled.run(*words)
    _, told = process.communicate(timeout=LONG)
    assert (process.returncode, said in told) == (2, True), told


def test_a_port_that_is_taken_is_said(filled):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = filled.run("--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        _, told = process.communicate(timeout=LONG)
    assert (process.returncode, "nothing can listen on" in told) == (2, True), told


# The door alone


@contextmanager
def a_door(take=len, look=lambda: None, token="", **limits):
    with Door(("127.0.0.1", 0), socket.AF_INET, token=token, take=take, look=look, limits=Limits(**limits)) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        try:
            yield door
        finally:
            door.shutdown()
            thread.join()


def soon(what):
    """Wait until that is so."""
    until = time.monotonic() + LONG
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def said(door, what):
    """A connection on which that was said, and from which nothing was read yet."""
    connection = socket.create_connection(door.server_address, timeout=LONG)
    connection.sendall(what)
    return connection


def test_who_sends_a_byte_now_and_then_is_cut_off():
    with a_door(seconds=1.0) as door, socket.create_connection(door.server_address, timeout=LONG) as drip:
        drip.sendall(b"POST /alertmanager HTTP/1.1\r\nContent-Length: 900000\r\n\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 900_000:
                drip.sendall(b"x")
                sent += 1
                threading.Event().wait(0.01)
        assert sent < 900_000
        soon(lambda: door.callers == 0)


def test_who_says_nothing_is_cut_off():
    with a_door(head_seconds=0.3) as door, socket.create_connection(door.server_address, timeout=LONG) as silent:
        assert everything(silent) == b""


def test_who_has_said_who_it_is_has_longer():
    with a_door(head_seconds=3.0) as door, socket.create_connection(door.server_address, timeout=LONG) as one:
        one.sendall(b"POST /alertmanager HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 100 ")
        with socket.create_connection(door.server_address, timeout=LONG) as silent:
            assert everything(silent) == b""  # its time is over, and it began later
        one.sendall(b"abc")
        assert b'{"changed": 3}' in everything(one)


BODY_OWED = b"POST /alertmanager HTTP/1.1\r\nContent-Length: 500\r\n\r\n{"
UNKNOWN = b"POST /alertmanager HTTP/1.1\r\nAuthorization: Bearer x\r\nContent-Length: 500\r\n\r\n{"


@pytest.mark.parametrize(
    "words", [b"", b"P", b"POST /alertmanager HTTP/1.1\r\nA: b\r\n", BODY_OWED, UNKNOWN], ids=range(5)
)
def test_those_who_say_something_and_wait_keep_nobody_out(words):
    """Of the same address, over and over, with no end to their patience: each webhook is taken at once."""
    token = TOKEN if words == UNKNOWN else ""
    with a_door(token=token, head_seconds=LONG, seconds=LONG, patience=0.1) as door, ExitStack() as stack:
        here = [stack.enter_context(said(door, words)) for _ in range(24)]
        for _ in range(30):
            found = ask(door.server_address[1], body=b"abc", Authorization=f"Bearer {TOKEN}")
            assert found == (200, {"changed": 3})
            here.append(stack.enter_context(said(door, words)))
        assert words == UNKNOWN or door.callers > 20, "they are there still"


@pytest.mark.parametrize(("words", "limit"), [(b"P", "connections"), (BODY_OWED, "bodies")])
def test_where_too_many_wait_the_one_who_has_longest_goes(words, limit):
    with a_door(head_seconds=LONG, seconds=LONG, patience=0.1, **{limit: 3}) as door, ExitStack() as stack:
        first = stack.enter_context(said(door, words))
        soon(lambda: door.callers == 1)
        for _ in range(30):
            stack.enter_context(said(door, words))
        assert everything(first) == b""
        for _ in range(10):
            assert ask(door.server_address[1], body=b"abc") == (200, {"changed": 3})
        soon(lambda: door.callers <= 3)


def test_when_too_many_are_written_at_once_others_are_told_to_come_again():
    begun, go_on = threading.Semaphore(0), threading.Event()

    def take(body):
        begun.release()
        assert go_on.wait(LONG)
        return len(body)

    whole = b"POST /alertmanager HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    with a_door(take=take, at_once=1, in_line=2) as door, ExitStack() as stack:
        try:
            first = stack.enter_context(said(door, whole))
            assert begun.acquire(timeout=LONG)
            second = stack.enter_context(said(door, whole))
            soon(lambda: door._in_line == 2)
            status, answer = ask(door.server_address[1], body=b"abc")
            assert (status, "try again" in answer["error"]) == (503, True)
            assert not begun.acquire(blocking=False), "one at a time"
        finally:
            go_on.set()
        for one in (first, second):
            assert b'{"changed": 3}' in everything(one)
        assert ask(door.server_address[1], body=b"abcd") == (200, {"changed": 4})


def test_however_many_ask_whether_all_is_well_the_record_is_looked_at_once():
    looks, begun, go_on = [], threading.Event(), threading.Event()

    def look():
        looks.append(1)
        begun.set()
        assert go_on.wait(LONG)

    with a_door(look=look) as door, ExitStack() as stack:
        try:
            words = b"GET /healthz HTTP/1.1\r\n\r\n"
            here = [stack.enter_context(said(door, words)) for _ in range(20)]
            assert begun.wait(LONG)
            assert ask(door.server_address[1], body=b"abc") == (200, {"changed": 3})
            soon(lambda: door.callers == 20)
        finally:
            go_on.set()
        assert all(b'{"status": "ok"}' in everything(one) for one in here)
        assert len(looks) < 20


@pytest.mark.parametrize(("fault", "status"), [(DatabaseUnreachable("no"), 503), (KeyError("no"), 500)])
def test_a_fault_of_ours_is_to_be_tried_again(fault, status):
    def take(_body):
        raise fault

    with a_door(take=take) as door:
        found = ask(door.server_address[1], body=b"abc")
    assert found[0] == status
    assert "try again" in found[1]["error"]


def test_whatever_comes_it_goes_on():
    with a_door() as door:
        for rubbish in (
            b"\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET\r\n\r\n",
            b"POST /alertmanager\r\n\r\n",
            b"POST /alertmanager HTTP/9.9\r\n\r\n",
            b"POST " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n",
            b"POST /alertmanager HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
            b"POST /alertmanager HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            b"POST /alertmanager HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ):
            with socket.create_connection(door.server_address, timeout=LONG) as connection:
                connection.sendall(rubbish)
                connection.shutdown(socket.SHUT_WR)
                assert b" 200 " not in everything(connection)
        assert ask(door.server_address[1], body=b"abc") == (200, {"changed": 3})
        soon(lambda: door.callers == 0)

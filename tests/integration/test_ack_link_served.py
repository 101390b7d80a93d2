"""Links to acknowledge: out of real messages, through the real receiver, into the record."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mailkit import Mail, mail_server

from opsqueue.notify.ack_link import Claim, opened, token
from opsqueue.pipeline import alert_people
from opsqueue.pipeline.alert_tick import look
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.telling import send_due
from opsqueue.settings import Settings
from opsqueue.store import alerts, tellings
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade
from opsqueue.tasks.receiver_ack import Links
from opsqueue.tasks.receiver_door import Door, Limits

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef0123456789abcdef"
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
LONG = 120
LINK = re.compile(r"http://\S+/ack\?t=\S+")


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()
        if self.server.status != 200:
            link = self.server.got[-1]["ack_url"].replace("/", "\\/")  # as PHP writes JSON
            self.wfile.write(f"what is {link} to mean?".encode())

    def log_message(self, *_args):
        pass


@dataclass
class Room:
    """A record, a webhook, a mail server, and the receiver in a process of its own."""

    folder: Path
    hook: ThreadingHTTPServer
    mail: Mail
    port: int = 0
    links: dict = field(default_factory=dict)

    def given(self, **more):
        file = self.folder / "key"
        route = {"name": "all", "group_wait_s": 0, "group_interval_s": 1, "channels": ["webhook", "email"]}
        linked = {"ack_url": f"http://127.0.0.1:{self.port or 1}", "ack_key": {"$secret": f"file:{file}"}}
        return {
            "state_dir": str(self.folder / "state"),
            "notification_channels": {
                "webhook": f"http://localhost:{self.hook.server_port}/",
                "email": "ops@company.com, night@company.com",
            },
            "notification_urls": {"email": f"mailto://127.0.0.1:{self.mail.port}?from=oq%40company.com&to={{to}}"},
            "alerts": {"built_in": False, "routes": [route], **linked, **more},
        }

    def key(self, text=KEY):
        file = self.folder / "key"
        file.write_text(f"{text}\n")
        file.chmod(0o600)

    @property
    def store(self):
        return Store(f"sqlite:///{self.folder / 'state' / 'opsqueue.db'}")

    @contextmanager
    def receiving(self, **more):
        config = self.folder / "opsqueue.json"
        config.write_text(json.dumps(self.given(**more)))
        argv = [sys.executable, "-m", "opsqueue", "--config", str(config), "alerts", "receive"]
        process = subprocess.Popen([*argv, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True, env=ENV)
        try:
            line = process.stderr.readline()
            assert "are taken at" in line, line + process.stderr.read()
            self.port = int(line.rpartition(":")[2].partition("/")[0])
            yield
        finally:
            process.terminate()
            process.wait(LONG)
            process.stderr.close()

    def ask(self, method, target, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)
        try:
            connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers
        finally:
            connection.close()

    def post(self, *names, status="firing", severity="critical"):
        """Alertmanager says that these fire, or are over."""
        one = {"status": status, "annotations": {}, "startsAt": "2027-01-15T08:00:00Z"}
        one["endsAt"] = "0001-01-01T00:00:00Z" if status == "firing" else "2027-01-15T09:00:00Z"
        said = [{**one, "labels": {"alertname": name, "instance": "db-1:9100", "severity": severity}} for name in names]
        assert self.ask("POST", "/alertmanager", json.dumps({"version": "4", "alerts": said}))[0] == 200

    def told(self, **more):
        """Look at the alerts, and send what is due; the links by recipient, each as path and query."""
        world = assemble(Settings(**self.given(**more)), dispatch=lambda _operation: None, worker="w")
        try:
            look(world)
            send_due(world)
        finally:
            world.store.close()
        found = {"webhook": self.hook.got[-1].get("ack_url", "")}
        for text in self.mails:
            for link in LINK.findall(text):
                found[opened(parse_qs(urlsplit(link).query)["t"][0], KEY).recipient] = link
        return {who: link.removeprefix(f"http://127.0.0.1:{self.port}") for who, link in found.items()}

    @property
    def mails(self):
        return [mail.get_body(("plain",)).get_content() for _to, mail in self.mail.handler.got]

    def acked(self):
        with self.store.read() as connection:
            return {one.called: one.acked_by for one in alerts.active(connection)}

    def acks(self):
        with self.store.read() as connection:
            return [line.actor for line in alerts.history(connection) if line.kind == "acknowledged"]


@pytest.fixture
def room(tmp_path):
    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    hook.got, hook.status = [], 200
    thread = threading.Thread(target=hook.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with mail_server() as mail:
        made = Room(tmp_path, hook, mail)
        made.key()
        upgrade(made.store)
        yield made
    hook.shutdown()
    thread.join()
    hook.server_close()


def test_a_link_is_looked_at_and_its_button_acknowledges_once(room):
    with room.receiving():
        room.post("Down", "<b>Slow</b>")
        links = room.told()
        assert set(links) == {"webhook", "email#ops@company.com", "email#night@company.com"}
        link = links["email#ops@company.com"]
        status, page, headers = room.ask("GET", link)
        assert status == 200
        assert ("critical: Down on db-1" in page, "&lt;b&gt;Slow&lt;/b&gt;" in page, "<b>" in page) == (
            True,
            True,
            False,
        )
        assert '<form method="post">' in page
        assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "<script" not in page
        assert room.ask("HEAD", link)[:2] == (200, "")
        assert room.acked() == {"Down": "", "<b>Slow</b>": ""}, "programs that scan mail follow links"
        status, page, _ = room.ask("POST", link, "", Origin="null")
        assert (status, "Acknowledged: " in page, "<form" in page) == (200, True, False)
        by = "link:email#ops@company.com"
        assert room.acked() == {"Down": by, "<b>Slow</b>": by}
        for who in links.values():
            for method in ("POST", "GET"):
                status, page, _ = room.ask(method, who)
                assert (status, "acknowledged already" in page, f"by {by} until" in page) == (200, True, True)
        assert room.acks() == [by, by], "each once, and for nobody longer"


def test_the_token_is_in_no_record_and_no_log(room):
    with room.receiving():
        room.post("Down")
        links = room.told()
        for link in links.values():
            room.ask("GET", link)
            room.ask("POST", link)
            room.ask("GET", f"{link}x")
    secrets = [link.partition("t=")[2].rpartition(".")[2].encode() for link in links.values()]
    files = [path for path in room.folder.rglob("*") if path.is_file() and path.name != "key"]
    assert any(path.suffix == ".log" for path in files)
    kept = b"".join(path.read_bytes() for path in files)
    assert [one for one in (*secrets, KEY.encode()) if one in kept] == []


def test_who_answers_with_the_link_gets_it_into_no_record(room):
    room.hook.status = 500
    with room.receiving():
        room.post("Down")
        room.told()
    with room.store.read() as connection:
        (row,) = (row for row in tellings.newest(connection, 10, every=True) if row.channel == "webhook")
    assert room.hook.got[-1]["ack_url"].rpartition(".")[2] not in row.error
    assert row.error.endswith("ack?t=*** to mean?")


def test_the_page_shows_all_that_its_button_acknowledges_the_worst_first(room):
    with room.receiving():
        room.post(*(f"Slow{number:03}" for number in range(150)), severity="warning")
        room.post("Zero")
        link = room.told()["webhook"]
        page = room.ask("GET", link)[1]
        shown = re.findall(r"<li>(\w+): (\w+) on", page)
        assert (len(shown), shown[0]) == (151, ("critical", "Zero"))
        assert "more" not in page
        assert room.ask("POST", link)[0] == 200
        assert set(room.acked()) == {name for _, name in shown}
        assert set(room.acked().values()) == {"link:webhook"}


def test_only_what_nobody_looks_after_is_acknowledged(room):
    with room.receiving():
        room.post("Down", "Slow", "Full")
        link = room.told()["webhook"]
        with room.store.read() as connection:
            known = {one.called: one.fingerprint for one in alerts.active(connection)}
        alert_people.ack(room.store, known["Down"], by="anna", now=time.time())
        room.post("Full", status="resolved")
        status, page, _ = room.ask("POST", link)
        assert (status, "1 of this message are over" in page) == (200, True)
        assert room.acked() == {"Down": "anna", "Slow": "link:webhook"}


def test_links_that_are_none_are_refused_in_words(room):
    with room.receiving():
        room.post("Down")
        link = room.told()["webhook"]
        text = link.partition("t=")[2]
        claim = opened(text, KEY)
        assert claim.until > time.time() + 3 * 3600
        over = token(Claim(claim.event, claim.recipient, int(time.time()) - 1), KEY)
        unknown = token(Claim("alerts:nothing:1", claim.recipient, claim.until), KEY)
        other = token(claim, "another key that is as long")
        later = token(Claim(claim.event, claim.recipient, claim.until + 1), KEY)
        mixed = later.partition(".")[0] + "." + text.partition(".")[2]
        cases = (
            ("", 403, "not whole"),
            ("?t=", 403, "not whole"),
            (f"?t={text[:-1]}", 403, "not whole"),
            (f"?t={text[:-1]}{'A' if text[-1] != 'A' else 'B'}", 403, "another key"),
            (f"?t={mixed}", 403, "was changed"),
            (f"?t={other}", 403, "another key"),
            (f"?t={'x' * 9000}", 403, "not whole"),
            ("?" + "&".join(f"a{n}=1" for n in range(50)), 403, "not whole"),
            (f"?t={over}", 410, "was good until"),
            (f"?t={unknown}", 404, "not in the record"),
        )
        for query, status, words in cases:
            for method in ("GET", "POST"):
                found, page, headers = room.ask(method, f"/ack{query}")
                assert (found, words in page, "<form" in page) == (status, True, False), (query, page)
                assert headers["Cache-Control"] == "no-store"
        assert room.ask("PUT", link)[0] == 405
        assert room.acked() == {"Down": ""}
        room.post("Down", status="resolved")
        for method in ("GET", "POST"):
            status, page, _ = room.ask(method, link)
            assert (status, "Nothing of this message fires" in page) == (410, True)
        assert room.acks() == []


def test_many_who_press_at_once_acknowledge_once(room):
    with room.receiving():
        room.post("Down", "Slow")
        links = list(room.told().values())
        with ThreadPoolExecutor(9) as pool:
            found = list(pool.map(lambda number: room.ask("POST", links[number % 3]), range(18)))
        assert {status for status, _, _ in found} == {200}
        assert all("cknowledged" in page and "<form" not in page for _, page, _ in found)
        assert len(room.acks()) == 2


def test_who_has_no_link_of_ours_has_neither_the_record_asked_nor_a_place_in_line():
    def record():
        raise AssertionError("it was asked")

    links = Links(KEY, record, now=lambda: 1000.0)
    limits = Limits(in_line=0)
    address, take = ("127.0.0.1", 0), len
    with Door(address, socket.AF_INET, token="", take=take, look=lambda: None, links=links, limits=limits) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        try:
            asked = Room(Path(), None, None, door.server_address[1]).ask
            for until, key, status in ((2000, KEY, 503), (2000, "x" * 20, 403), (1000, KEY, 410)):
                for method in ("GET", "POST"):
                    assert asked(method, f"/ack?t={token(Claim('e', 'r', until), key)}")[0] == status
        finally:
            door.shutdown()
            thread.join()


def test_what_a_form_sends_besides_is_read_and_forgotten(room):
    with room.receiving():
        room.post("Down")
        link = room.told()["webhook"]
        assert room.ask("POST", link, b"x" * 200_000)[0] == 200
        assert room.ask("POST", "/ack?t=x", b"x" * 200_000)[0] == 403
        assert room.acks() == ["link:webhook"]


def test_while_the_record_is_away_the_button_is_to_be_pressed_again(room):
    with room.receiving():
        room.post("Down")
        link = room.told()["webhook"]
        file = room.folder / "state" / "opsqueue.db"
        file.rename(room.folder / "away")
        assert room.ask("POST", link)[0] == 503
        (room.folder / "away").rename(file)
        assert room.ask("POST", link)[0] == 200


def test_without_the_settings_there_are_no_links(room):
    none = {"ack_url": None, "ack_key": None}
    with room.receiving(**none):
        room.post("Down")
        assert room.told(**none) == {"webhook": ""}
        assert room.ask("GET", f"/ack?t={token(Claim('e', 'r', 2**33), KEY)}")[0] == 404
        assert "opsqueue alerts ack" in room.mails[0]


def test_with_a_key_that_cannot_be_used_people_are_told_all_the_same(room):
    with room.receiving():
        room.post("Down")
        room.key("short")
        assert room.told() == {"webhook": ""}
    with room.store.read() as connection:
        rows = tellings.newest(connection, 10, every=True)
    assert {row.status for row in rows} == {"accepted"}
    assert all(row.note.startswith("sent without a link to acknowledge: alerts.ack_key") for row in rows)
    config = room.folder / "opsqueue.json"
    argv = [sys.executable, "-m", "opsqueue", "--config", str(config), "alerts", "receive", "--listen", "127.0.0.1:0"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=LONG, check=False, env=ENV)
    assert (ended.returncode, "at least 16 characters" in ended.stderr) == (2, True)
    assert "short" not in ended.stderr

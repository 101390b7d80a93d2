"""Delivery to real servers: SMTP and HTTP on this machine, with every answer that they may give."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from apprise import AppriseAsset
from mailkit import Mail, Mailbox, mail_server

from opsqueue.model.names import OperationPriority, Outcome, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.notify import by_apprise
from opsqueue.notify.channels import Channel, resolve
from opsqueue.notify.message import compose
from opsqueue.notify.send import send

CANARY = "hunter2-CANARY"
OPERATION = Operation(
    id="op-1",
    name="restart <script>alert(1)</script> & \u4f60\u597d @everyone",
    type="service_restart",
    priority=OperationPriority.HIGH,
    parameters={"password": CANARY},
    outcome=Outcome.FAILED,
)
TARGETS = (Target(operation_id="op-1", host="web-1", state=TargetState.FAILED, problems=("nginx & co",)),)
MESSAGE = compose(OPERATION, TARGETS)


class Hook(BaseHTTPRequestHandler):
    """Answers with the status in its path and remembers what came."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.command, self.path, self.headers, body))
        word = self.path.strip("/").partition("?")[0].partition("/")[0]
        if word == "drip":
            return self._drip(b"H")
        if word == "dripped":
            return self._drip(b"HTTP/1.0 500 Oh\r\n\r\nH")
        self.send_response(int(word))
        if word == "302":
            self.send_header("Location", f"http://elsewhere.example.com:81/200/{CANARY}")
        if word == "503":
            self.send_header("Retry-After", self.server.busy)
        self.end_headers()
        self.wfile.write(f"you sent {self.path} as {self.headers.get('Authorization')}\x1b[2J".encode())
        return None

    def do_GET(self):
        self.server.got.append((self.command, self.path, self.headers, b""))
        self.send_response(200)
        self.end_headers()

    def _drip(self, begin):
        # A byte now and then keeps the time limit of the socket alive for ever.
        try:
            self.wfile.write(begin)
            for _ in range(100):
                self.wfile.write(b"H")
                time.sleep(0.05)
        except OSError:
            self.server.hung_up.set()

    def log_message(self, *_args):
        pass


@pytest.fixture
def hook() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.got, server.busy = [], "7"
    server.hung_up = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def dripping() -> Iterator[int]:
    """The port of a mail server whose greeting never ends: a line now and then."""
    over = threading.Event()

    def greet(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while not over.wait(0.05):
                connection.sendall(b"220-wait\r\n")

    def let_in(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=greet, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=let_in, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        over.set()
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def mail() -> Iterator[Mail]:
    with mail_server() as server:
        yield server


def mail_channel(server: Mail, to: str) -> Channel:
    """What the plain setting gives, but for the port, which only root may serve."""
    plain = resolve("email", {"email": to}, {}, hostname="web-1.example.com")
    assert isinstance(plain, Channel)
    urls = tuple(url.replace("localhost:25", f"127.0.0.1:{server.port}") for url in plain.urls)
    return Channel(name=plain.name, urls=urls, recipients=plain.recipients)


def web(name: str, url: str) -> Channel:
    return Channel(name=name, urls=(url,))


def test_a_webhook_gets_the_payload_and_the_idempotency_key(hook):
    channel = resolve("webhook", {"webhook": f"http://127.0.0.1:{hook.server_port}/200/alerts?x=1"}, {})
    receipt = send(channel, MESSAGE, event_id="event-7")
    assert (receipt.status, receipt.error) == ("accepted", "")
    [(method, path, headers, body)] = hook.got
    assert (method, path) == ("POST", "/200/alerts?x=1")
    assert headers["X-Opsqueue-Event"] == "event-7"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == MESSAGE.payload


@pytest.mark.parametrize(
    ("code", "status"),
    [(204, "accepted"), (400, "dead"), (404, "dead"), (429, "failed"), (500, "failed"), (503, "failed")],
)
def test_a_webhook_that_answers_with_an_error(hook, code, status):
    receipt = send(web("webhook", f"http://127.0.0.1:{hook.server_port}/{code}"), MESSAGE, event_id="e")
    assert receipt.status == status
    assert receipt.permanent is (status == "dead")
    assert (str(code) in receipt.error) is (status != "accepted")
    assert receipt.wait == (7 if code == 503 else 0)
    assert len(hook.got) == 1


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        ("120", 120, 120),
        (timedelta(minutes=50), 900, 3000),
        (timedelta(days=2), 3600, 3600),
        (timedelta(days=-2), 0, 0),
        ("99999999999", 0, 0),
        ("soon", 0, 0),
        ("Wed, 32 Oct 2026 99:28:00 GMT", 0, 0),
        ("Wed, 21 Oct 2026 07:28:00 -0000", 0, 0),  # no zone, and the answer's own date has one
    ],
)
def test_a_webhook_says_how_long_to_wait_in_seconds_or_until_when(hook, after, least, most):
    point = isinstance(after, timedelta)
    hook.busy = format_datetime(datetime.now(UTC) + after, usegmt=True) if point else after
    receipt = send(web("webhook", f"http://127.0.0.1:{hook.server_port}/503"), MESSAGE, event_id="e")
    assert (receipt.status, receipt.permanent) == ("failed", False)
    assert least <= receipt.wait <= most


def test_a_webhook_is_not_redirected(hook):
    receipt = send(web("webhook", f"http://127.0.0.1:{hook.server_port}/302"), MESSAGE, event_id="e")
    assert (receipt.status, receipt.permanent) == ("dead", True)
    assert "a redirect to http://elsewhere.example.com:81; redirects are not followed" in receipt.error
    assert CANARY not in receipt.error
    assert len(hook.got) == 1


@pytest.mark.parametrize("drips", ["drip", "dripped"])
def test_a_silent_and_a_dripping_webhook_end_with_the_deadline(hook, silent, drips):
    for port, path in ((silent, "200"), (hook.server_port, drips)):
        started = time.monotonic()
        receipt = send(web("webhook", f"http://127.0.0.1:{port}/{path}"), MESSAGE, event_id="e", timeout=0.4)
        assert time.monotonic() - started < 10
        assert (receipt.status, receipt.permanent) == ("failed", False)
    assert "no answer within 0.4 s" in receipt.error
    assert hook.hung_up.wait(20)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_webhook_at_an_ipv6_address_needs_no_port(scheme):
    receipt = send(web("webhook", f"{scheme}://[::ffff:169.254.169.254]/200"), MESSAGE, event_id="e")
    assert (receipt.status, receipt.permanent) == ("dead", True), "the address is looked at, not taken for a port"
    assert "to which no webhook is sent" in receipt.error


def test_a_webhook_that_nobody_serves_is_tried_again():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    receipt = send(web("webhook", f"http://127.0.0.1:{port}/"), MESSAGE, event_id="e")
    assert (receipt.status, receipt.permanent) == ("failed", False)
    assert "refused" in receipt.error


def test_no_secret_of_a_webhook_is_in_the_error_although_the_server_repeats_it(hook):
    url = f"http://user:{CANARY}@127.0.0.1:{hook.server_port}/400/{CANARY}-path?token={CANARY}-query"
    receipt = send(web("webhook", url), MESSAGE, event_id="e")
    authorization = hook.got[0][2]["Authorization"]
    assert authorization.startswith("Basic ")
    assert receipt.status == "dead"
    assert "you sent" in receipt.error
    assert CANARY not in receipt.error
    assert authorization.removeprefix("Basic ") not in receipt.error
    assert "\x1b" not in receipt.error


@pytest.mark.parametrize("event_id", ["a\r\nX-Evil: 1", "\u4f60\u597d", "\ud83d", ""])
def test_a_hostile_event_id_adds_no_header(hook, event_id):
    assert (
        send(web("webhook", f"http://127.0.0.1:{hook.server_port}/200"), MESSAGE, event_id=event_id).status
        == "accepted"
    )
    assert "X-Evil" not in hook.got[0][2]


def test_a_mail_arrives_once_as_plain_text(mail):
    receipt = send(mail_channel(mail, "admin@company.com"), MESSAGE, event_id="event-7")
    assert (receipt.status, receipt.error) == ("accepted", "")
    [(to, message)] = mail.handler.got
    assert to == "admin@company.com"
    assert message["Subject"] == MESSAGE.title
    assert message["From"] == "opsqueue@web-1.example.com"
    assert message["X-Opsqueue-Event"] == "event-7"
    assert message.get_content_type() == "text/plain"
    assert message.get_content().replace("\r\n", "\n").strip() == MESSAGE.body


def test_a_mail_as_html_has_its_text_escaped(mail):
    url = mail_channel(mail, "admin@company.com").urls[0] + "&format=html"
    assert send(web("email", url), MESSAGE, event_id="e").status == "accepted"
    [(_, message)] = mail.handler.got
    html = message.get_body(("html",)).get_content()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("to", "code", "status"), [("gone@company.com", 550, "dead"), ("later@company.com", 451, "failed")]
)
def test_a_refused_mailbox_is_told_from_a_busy_one(mail, to, code, status):
    started = time.monotonic()
    receipt = send(mail_channel(mail, to), MESSAGE, event_id="e")
    assert time.monotonic() - started < 4
    assert (receipt.status, receipt.permanent) == (status, status == "dead")
    assert f"SMTP {code}" in receipt.error
    assert mail.handler.got == []


def test_of_two_recipients_only_the_one_that_failed_is_reported_and_tried_again(mail):
    both = mail_channel(mail, "admin@company.com,gone@company.com")
    receipt = send(both, MESSAGE, event_id="e")
    assert receipt.status == "dead"
    assert "1 of 2 recipients not reached: gone@company.com: E-Mail: SMTP 550" in receipt.error
    assert [to for to, _ in mail.handler.got] == ["admin@company.com"]
    receipts = {part.name: send(part, MESSAGE, event_id="e").status for part in both.apart()}
    assert receipts == {"email#admin@company.com": "accepted", "email#gone@company.com": "dead"}
    mixed = send(mail_channel(mail, "gone@company.com,later@company.com"), MESSAGE, event_id="e")
    assert (mixed.status, mixed.permanent) == ("failed", False)


def test_a_second_mail_at_once_is_not_held_back(mail):
    channel = mail_channel(mail, "admin@company.com")
    started = time.monotonic()
    assert [send(channel, MESSAGE, event_id=f"e{n}").status for n in range(3)] == ["accepted"] * 3
    assert time.monotonic() - started < 4


def test_a_service_does_not_sleep_between_its_targets_and_others_are_left_alone():
    url = "mailto://127.0.0.1:9?from=a@company.com&to=b@company.com"
    service = by_apprise._service(url, "e", 3, AppriseAsset())
    assert service is not None
    assert (service.request_rate_per_sec, service.socket_connect_timeout) == (0, 3)
    assert type(service).request_rate_per_sec > 0


def test_a_silent_mail_server_ends_with_the_deadline(silent):
    started = time.monotonic()
    url = f"mailto://user:{CANARY}@127.0.0.1:{silent}?from=a@company.com&to=b@company.com"
    receipt = send(web("email", url), MESSAGE, event_id="e", timeout=0.5)
    assert time.monotonic() - started < 10
    assert (receipt.status, receipt.permanent) == ("failed", False)
    assert CANARY not in receipt.error


class Clinging(Mailbox):
    """Takes the mail, and then does not let go."""

    async def handle_QUIT(self, _server, _session, _envelope):  # noqa: N802 - the name that aiosmtpd calls
        await asyncio.sleep(60)
        return "221 Bye"


def test_a_mail_that_was_taken_is_not_sent_again_though_the_server_does_not_say_goodbye():
    with mail_server(Clinging()) as server:
        receipt = send(mail_channel(server, "ops@company.com"), MESSAGE, event_id="e", timeout=2)
        taken = list(server.handler.got)
    assert (receipt.status, len(taken)) == ("accepted", 1), receipt.error
    assert receipt.note == "the server took it, and did not end the conversation"


def test_a_mail_server_that_says_a_line_now_and_then_silences_no_other_service(hook, dripping):
    url = f"mailto://127.0.0.1:{dripping}?from=a@company.com&to=b@company.com"
    for number in range((os.cpu_count() or 1) + 5):  # more than threads that Apprise has for all services together
        tried = send(web("email", url), MESSAGE, event_id=f"e{number}", timeout=0.2)
        assert (tried.status, tried.permanent) == ("failed", False)
    assert "4 earlier tries have no answer" in tried.error, "what hangs does not become more and more"
    other = send(web("chat", f"json://127.0.0.1:{hook.server_port}/200"), MESSAGE, event_id="e")
    assert other.status == "accepted", other.error
    left = [thread for thread in threading.enumerate() if thread.name == "notify-aside"]
    assert left
    assert all(thread.daemon for thread in left), "no process waits for them when it ends"


@pytest.mark.parametrize(
    ("code", "status"), [(200, "accepted"), (302, "dead"), (400, "dead"), (429, "failed"), (500, "failed")]
)
def test_apprise_is_asked_once_and_its_answers_are_classed(hook, code, status):
    url = f"json://127.0.0.1:{hook.server_port}/{code}?retry=3&wait=1&optional=yes"
    receipt = send(web("pager", url), MESSAGE, event_id="event-7")
    assert (receipt.status, receipt.permanent) == (status, status == "dead")
    assert [(method, headers["X-Opsqueue-Event"]) for method, _, headers, _ in hook.got] == [("POST", "event-7")]


@pytest.fixture
def root_log() -> Iterator[io.StringIO]:
    """All that reaches the handlers of the root logger; caplog also hears what does not propagate to it."""
    text, root, ours = io.StringIO(), logging.getLogger(), logging.getLogger("opsqueue")
    handler, level, own = logging.StreamHandler(text), root.level, (ours.propagate, ours.level)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    ours.propagate = True
    ours.setLevel(logging.DEBUG)  # a command that ran in this process before set them otherwise
    yield text
    ours.propagate = own[0]
    ours.setLevel(own[1])
    root.setLevel(level)
    root.removeHandler(handler)


def test_no_secret_of_a_service_is_in_the_error_or_in_our_log(hook, root_log):
    logging.getLogger("opsqueue.notify").debug("the handler works")
    url = f"json://user:{CANARY}@127.0.0.1:{hook.server_port}/400/{CANARY}?+X-Token={CANARY}"
    receipt = send(web("pager", url), MESSAGE, event_id="e")
    assert CANARY in hook.got[0][1]
    assert receipt.status == "dead"
    assert CANARY not in receipt.error
    assert root_log.getvalue() == "the handler works\n"


def test_nobody_is_called_by_a_name(hook):
    send(web("pager", f"json://127.0.0.1:{hook.server_port}/200"), MESSAGE, event_id="e")
    assert "@everyone" in MESSAGE.title
    assert "@everyone" not in json.loads(hook.got[0][3])["title"]


def test_a_web_address_under_another_name_is_a_webhook_too(hook):
    assert send(web("pager", f"http://127.0.0.1:{hook.server_port}/200"), MESSAGE, event_id="e").status == "accepted"
    assert json.loads(hook.got[0][3])["operation_id"] == "op-1"


def test_a_telephone_gets_the_short_form(hook):
    assert (
        send(web("sms#+1555", f"json://127.0.0.1:{hook.server_port}/200"), MESSAGE, event_id="e").status == "accepted"
    )
    sent = json.loads(hook.got[0][3])
    assert (sent["title"], sent["message"].replace("\u200b", "")) == ("", MESSAGE.short)


@pytest.mark.parametrize(
    "url",
    [f"nosuch://{CANARY}", f"slack://{CANARY}", f"http://[{CANARY}", f"mailto://u:{CANARY}@", f"json://{CANARY}:x y"],
)
@pytest.mark.parametrize("name", ["pager", "webhook"])
def test_an_address_that_cannot_work_is_given_up_at_once(url, name):
    receipt = send(web(name, url), MESSAGE, event_id="e", timeout=0.5)
    assert receipt.status in {"dead", "failed"}
    assert receipt.error
    assert CANARY not in receipt.error
    assert "\n" not in receipt.error


def test_a_channel_without_an_address_and_a_fault_of_a_plugin_are_receipts(monkeypatch):
    assert send(Channel(name="x", urls=()), MESSAGE, event_id="e").status == "dead"
    broken = compose(OPERATION, TARGETS)
    broken.payload["bad"] = object()
    receipt = send(web("webhook", f"http://{CANARY}@127.0.0.1:9/"), broken, event_id="e")
    assert receipt.status == "failed"
    assert "TypeError" in receipt.error


def test_the_log_always_works(caplog):
    caplog.set_level(logging.INFO)
    assert send(resolve("log", {}, {}), MESSAGE, event_id="event-7\n").status == "accepted"
    [record] = caplog.records
    assert (record.name, record.levelname) == ("opsqueue.notify", "ERROR")
    assert record.getMessage() == f"{MESSAGE.title} (event event-7\\n)"

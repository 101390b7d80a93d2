"""Alerts go out to an Alertmanager: its own list of alerts, over a real connection."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from opsqueue.model.alert import Alert, AlertState, Group, Notice
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.names import Severity
from opsqueue.notify.alert_message import of_group
from opsqueue.notify.channels import resolve
from opsqueue.notify.message import Message
from opsqueue.notify.send import send

AT = 1_800_000_000.0
RULE = AlertRule(name="cpu", metric="cpu_usage", threshold=80, annotations={"team": "ops"})


class Taker(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_args):
        pass


@pytest.fixture
def taker():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def an_alert(host, **more):
    base = {"state": AlertState.FIRING, "fired_at": AT, "value": 91.5, "threshold": 80.0}
    return Alert(
        fingerprint=host, rule="cpu", labels={"rule": "cpu", "host": host}, severity=Severity.CRITICAL, **base | more
    )


def test_it_gets_what_fires_and_what_is_over(taker):
    over = an_alert("h2", state=AlertState.INACTIVE, resolved_at=AT + 60, note="it was hot")
    group = Group(key="g", route="default", labels={"rule": "cpu"}, next_at=AT)
    notice = Notice(group=group, why="changed", firing=(an_alert("h1"),), resolved=(over,))
    message = of_group(notice, {"cpu": RULE})
    channel = resolve("am", {"am": f"http://127.0.0.1:{taker.server_port}/api/v2/alerts"}, {})
    receipt = send(channel, Message(**{**{n: getattr(message, n) for n in _FIELDS}, "at": AT}), event_id="e")
    assert (receipt.status, receipt.error) == ("accepted", "")
    [(path, alerts)] = taker.got
    assert path == "/api/v2/alerts"
    assert alerts == [
        {
            "labels": {"alertname": "cpu", "rule": "cpu", "host": "h1", "severity": "critical"},
            "annotations": {"team": "ops", "value": "91.5"},
            "startsAt": "2027-01-15T08:00:00Z",
            "endsAt": "2027-01-22T08:00:00Z",
        },
        {
            "labels": {"alertname": "cpu", "rule": "cpu", "host": "h2", "severity": "critical"},
            "annotations": {"team": "ops", "summary": "it was hot", "value": "91.5"},
            "startsAt": "2027-01-15T08:00:00Z",
            "endsAt": "2027-01-15T08:01:00Z",
        },
    ]


_FIELDS = ("title", "body", "severity", "payload", "short")


def test_it_is_not_sent_what_is_no_alert(taker):
    channel = resolve("am", {"am": f"http://127.0.0.1:{taker.server_port}/api/v2/alerts/"}, {})
    other = Message(title="t", body="b", severity=Severity.INFO, payload={"event": "operation.finished"}, short="s")
    receipt = send(channel, other, event_id="e")
    assert receipt.permanent
    assert "no alert" in receipt.error
    assert taker.got == []

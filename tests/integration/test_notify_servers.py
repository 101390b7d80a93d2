"""The outbox with real servers: a signature that another program checks, many recipients, what each medium gets."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from apprise.plugins.slack import NotifySlack
from apprise.plugins.twilio import NotifyTwilio
from mailkit import Mail, mail_server
from sqlalchemy import select

from opsqueue.cli.main import main
from opsqueue.cli.times import stamp
from opsqueue.model.names import Severity
from opsqueue.notify.message import Message
from opsqueue.notify.sms import cost
from opsqueue.pipeline.assemble import assemble, tell
from opsqueue.pipeline.telling import enqueue, send_due
from opsqueue.settings import Settings
from opsqueue.store import tellings
from opsqueue.store.schema import messages
from opsqueue.store.upgrade import upgrade
from opsqueue.telemetry import iso

DOCS = Path(__file__).parents[2] / "docs"
HOSTILE = "a <!channel> <https://evil.example|here> & <script>alert(1)</script> @everyone"
MESSAGE = Message(
    title=HOSTILE,
    body=f"{HOSTILE}\nMore: opsqueue show op-1",
    severity=Severity.WARNING,
    payload={"event": "alert", "name": HOSTILE},
    short=f"{HOSTILE} {'x' * 400} https://ops.example.com/alerts/7?a=b",
    at=1_772_971_200.0,
)


class Hook(BaseHTTPRequestHandler):
    """Answers with the status in its path and remembers what came."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers, body))
        found = re.match(r"/(\d{3})", self.path)
        self.send_response(int(found[1]) if found else 200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_args):
        pass


@pytest.fixture
def hook() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mail() -> Iterator[Mail]:
    with mail_server() as server:
        yield server


def mailto(server):
    return f"mailto://127.0.0.1:{server.port}?from=opsqueue%40company.com&to={{to}}"


@pytest.fixture
def key(tmp_path):
    """The reference to a key, and the file that it names."""
    path = tmp_path / "key"
    path.write_text("a key that nobody knows\n")
    path.chmod(0o600)
    return {"$secret": f"file:{path}"}, path


def settings(tmp_path, hook, **more) -> Settings:
    channels = {"webhook": f"http://localhost:{hook.server_port}/200/alerts", **more.pop("channels", {})}
    return Settings(state_dir=tmp_path / "state", notification_channels=channels, **more)


# -- signed webhooks


def recipe():
    """The receiver that the documentation shows."""
    page = (DOCS / "notifications.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(import hashlib.*?)```", page, re.DOTALL)
    assert found, "docs/notifications.md shows no receiver"
    names: dict = {}
    exec(found[1], names)
    return names["genuine"]


def test_a_webhook_is_signed_and_the_receiver_of_the_documentation_knows_it(tmp_path, hook, key):
    given = settings(tmp_path, hook, notification_rules={"webhook": {"signing_key": key[0]}})
    assert tell(given, "webhook", MESSAGE, "event-7").status == "accepted"
    [(_, headers, body)] = hook.got
    genuine, secret = recipe(), key[1].read_text().strip()
    at = float(headers["X-Opsqueue-Timestamp"])
    assert genuine(headers, body, secret, at)
    assert genuine(headers, body, secret, at + 299)
    assert not genuine(headers, body, secret, at + 301), "a replay after five minutes"
    assert not genuine(headers, body, secret, at - 301), "a clock that is far off"
    assert not genuine(headers, body + b" ", secret, at)
    assert not genuine(headers, body, "another key", at)
    assert not genuine({**headers, "X-Opsqueue-Timestamp": f"{at + 60:.0f}"}, body, secret, at + 60)
    assert not genuine({}, body, secret, at)
    assert headers["X-Opsqueue-Event"] == "event-7"


def test_an_unsigned_webhook_carries_no_signature(tmp_path, hook):
    assert tell(settings(tmp_path, hook), "webhook", MESSAGE, "e").status == "accepted"
    assert "X-Opsqueue-Signature" not in hook.got[0][1]


def test_a_key_that_cannot_be_read_sends_nothing(tmp_path, hook, key):
    given = settings(tmp_path, hook, notification_rules={"webhook": {"signing_key": key[0]}})
    for spoil in (lambda: key[1].write_text("\n"), key[1].unlink):
        spoil()
        receipt = tell(given, "webhook", MESSAGE, "e")
        assert (receipt.status, hook.got) == ("dead", []), "unsigned it would be believed"
        assert "signing_key" in receipt.error


def test_a_public_name_that_leads_to_this_machine_is_not_asked(tmp_path, hook, monkeypatch):
    """`hooks.example.com` as whoever owns it may let it lead here."""
    import socket  # noqa: PLC0415 - to be changed below

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, port, *more, **kw: real("127.0.0.1", port, *more, **kw))
    url = {"webhook": f"http://hooks.example.com:{hook.server_port}/200"}
    receipt = tell(settings(tmp_path, hook, channels=url), "webhook", MESSAGE, "e")
    assert (receipt.status, hook.got) == ("dead", [])
    assert "leads to the private address 127.0.0.1" in receipt.error
    allowed = settings(tmp_path, hook, channels=url, notification_rules={"webhook": {"private_addresses": True}})
    assert tell(allowed, "webhook", MESSAGE, "e").status == "accepted"
    assert hook.got[0][1]["Host"] == f"hooks.example.com:{hook.server_port}"


# -- what each medium gets


def test_slack_gets_what_was_said_and_nothing_that_commands_it(tmp_path, hook, monkeypatch):
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{hook.server_port}")
    token = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    given = settings(tmp_path, hook, channels={"slack": "#ops"}, notification_urls={"slack": f"slack://{token}"})
    assert tell(given, "slack", MESSAGE, "e").status == "accepted"
    sent = json.loads(hook.got[0][2])
    assert (sent["channel"], sent["mrkdwn"]) == ("#ops", False)
    text = sent["attachments"][0]["title"] + sent["attachments"][0]["text"]
    assert not set(text) & set("<>")
    assert "&lt;\u200b!channel&gt;" in text
    assert "@everyone" not in text


def test_a_telephone_gets_as_many_parts_as_it_may_cost_and_a_whole_link(tmp_path, hook, monkeypatch):
    monkeypatch.setattr(NotifyTwilio, "notify_sms_url", f"http://127.0.0.1:{hook.server_port}/{{sid}}")
    given = settings(
        tmp_path,
        hook,
        channels={"sms": "+15557654321, +15557654322"},
        notification_urls={"sms": f"twilio://AC{'a' * 32}:{'b' * 32}@+15551234567/{{to}}"},
        notification_rules={"sms": {"sms_segments": 1}, "sms#+15557654322": {"sms_segments": 3}},
    )
    for number, parts in (("+15557654321", 1), ("+15557654322", 3)):
        assert tell(given, f"sms#{number}", MESSAGE, "e").status == "accepted"
        sent = parse_qs(hook.got[-1][2].decode())
        assert sent["To"] == [number]
        assert cost(sent["Body"][0]).parts == parts
        assert sent["Body"][0].endswith("... https://ops.example.com/alerts/7?a=b")


def test_a_mail_as_html_is_escaped_and_has_the_time_of_its_reader(tmp_path, hook, mail):
    given = settings(
        tmp_path,
        hook,
        channels={"email": "admin@company.com"},
        notification_urls={"email": mailto(mail) + "&format=html"},
        notification_rules={"email": {"timezone": "Europe/Berlin"}},
    )
    assert tell(given, "email", MESSAGE, "e").status == "accepted"
    [(_, message)] = mail.handler.got
    html = message.get_body(("html",)).get_content()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "2026-03-08T13:00:00+01:00 Europe/Berlin (2026-03-08T12:00:00Z)" in html.replace("&nbsp;", " ")


# -- templates


def shown(tmp_path):
    """The rules that the documentation shows, and their file."""
    page = (DOCS / "notifications.md").read_text(encoding="utf-8")
    part = page.partition("## Templates")[2]
    rules = json.loads(re.search(r"```json\n(.*?)```", part, re.DOTALL)[1])["notification_rules"]
    file = tmp_path / "mail.html.j2"
    file.write_text(re.search(r"```jinja\n(.*?)```", part, re.DOTALL)[1])
    rules["email"]["body_template"] = f"file:{file}"
    return rules, file


LABELS = {"rule": "cpu_usage", "host": "db<1>", "severity": "critical"}
FIRING = replace(
    MESSAGE,
    title="[opsqueue] cpu_usage on db<1>: 1 firing",
    payload={"event": "alerts", "alerts": [{"status": "firing", "labels": LABELS, "value": 91.52}]},
)
FAILED = replace(
    MESSAGE,
    payload={
        "event": "operation.finished",
        "operation_id": "op-1",
        "name": HOSTILE,
        "status": "failed",
        "hosts": {"h1": "succeeded", "h2": "failed"},
    },
)


def test_the_templates_of_the_documentation_are_sent_and_escaped(tmp_path, hook, mail, monkeypatch):
    monkeypatch.setattr(NotifyTwilio, "notify_sms_url", f"http://127.0.0.1:{hook.server_port}/{{sid}}")
    rules, _ = shown(tmp_path)
    urls = {"email": mailto(mail), "sms": f"twilio://AC{'a' * 32}:{'b' * 32}@+15551234567/{{to}}"}
    people = {"email": "a@company.com", "sms": "+15557654321"}
    given = settings(tmp_path, hook, channels=people, notification_urls=urls, notification_rules=rules)
    for message, title, wanted in (
        (
            FIRING,
            "WARNING: [opsqueue] cpu_usage on db<1>: 1 firing",
            ["<li>firing: cpu_usage on db&lt;1&gt;, 91.5</li>"],
        ),
        (FAILED, f"WARNING: {HOSTILE}", ["<li>h2: failed</li>", "&lt;script&gt;alert(1)&lt;/script&gt;"]),
    ):
        receipt = tell(given, "email", message, "e")
        assert (receipt.status, receipt.note) == ("accepted", "")
        sent = mail.handler.got[-1][1]
        html = sent.get_body(("html",)).get_content()
        assert sent["Subject"] == title
        assert [one for one in (*wanted, "More: opsqueue show op-1") if one not in html] == []
        assert ("<script>" in html, "h1" in html.replace("<h1>", "").replace("</h1>", "")) == (False, False)
    assert tell(given, "sms", FIRING, "e").status == "accepted"
    assert parse_qs(hook.got[-1][2].decode())["Body"] == ["warning: cpu_usage on db<1>"]
    assert tell(given, "webhook", FIRING, "e").status == "accepted"
    assert json.loads(hook.got[-1][2]) == FIRING.payload


def test_what_a_template_says_commands_slack_as_little_as_what_we_say(tmp_path, hook, monkeypatch):
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{hook.server_port}")
    url = {"slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"}
    for format_, note in (("text", ""), ("html", "sent without its template: that is HTML, and this way takes text")):
        rules = {"slack": {"body_template": "Look: {{ message.name }}", "template_format": format_}}
        given = settings(tmp_path, hook, channels={"slack": "#ops"}, notification_urls=url, notification_rules=rules)
        receipt = tell(given, "slack", MESSAGE, "e")
        assert (receipt.status, receipt.note) == ("accepted", note)
        text = json.loads(hook.got[-1][2])["attachments"][0]["text"]
        assert text.startswith("Look: a &lt;" if format_ == "text" else "a &lt;")
        assert not set(text) & set("<>")
        assert "@everyone" not in text


# -- the outbox


@pytest.fixture
def made(tmp_path):
    """Worlds, each with a record of its own."""
    worlds = []

    def make(given):
        worlds.append(assemble(given, dispatch=lambda _operation: None, worker="w"))
        upgrade(worlds[-1].store)
        return worlds[-1]

    yield make
    for world in worlds:
        world.store.close()


def test_of_a_hundred_recipients_a_bad_one_stops_nobody(tmp_path, hook, mail, made):
    people = [f"gone{n}@company.com" if n == 50 else f"p{n}@company.com" for n in range(100)]
    world = made(
        settings(
            tmp_path,
            hook,
            channels={"email": ",".join(people)},
            notification_urls={"email": mailto(mail)},
            notification_rules={"email": {"fallback": ["webhook"]}},
        )
    )
    with world.store.begin() as tx:
        enqueue(tx, world, MESSAGE, event_id="e1", channels=["email"])
    while send_due(world):
        pass
    with world.store.read() as connection:
        states = {row.channel: row.status for row in tellings.of(connection, "e1")}
    assert sorted(to for to, _ in mail.handler.got) == sorted(set(people) - {"gone50@company.com"})
    assert [channel for channel, status in states.items() if status != "accepted"] == ["email#gone50@company.com"]
    assert [json.loads(body)["event"] for path, _, body in hook.got if path == "/200/alerts"].count("alert") == 1


def test_a_template_that_fails_is_told_of_beside_the_message_that_was_sent(tmp_path, hook, mail, made):
    rules, file = shown(tmp_path)
    given = settings(
        tmp_path,
        hook,
        channels={"email": "a@company.com"},
        notification_urls={"email": mailto(mail)},
        notification_rules={"email": rules["email"]},
    )
    world = made(given)
    file.write_text("one\n{{ two }}")
    with world.store.begin() as tx:
        enqueue(tx, world, MESSAGE, event_id="e1", channels=["email"])
    assert send_due(world) == 1
    with world.store.read() as connection:
        [row] = tellings.of(connection, "e1")
    assert (row.status, row.note) == ("accepted", "sent without its template: line 2: 'two' is undefined")
    assert not row.held, "in the figures it waited for nothing"
    [(_, sent)] = mail.handler.got
    assert (sent["Subject"], "opsqueue show op-1" in sent.get_content()) == (HOSTILE, True)


# -- opsqueue notify


def write(path, **given):
    path.write_text(json.dumps({"state_dir": str(path.parent / "state"), **given}))
    return path


def test_a_marked_message_is_sent_and_each_recipient_reported(tmp_path, hook, mail, capsys):
    config = write(
        tmp_path / "opsqueue.json",
        notification_channels={
            "email": "a@company.com, gone@company.com",
            "webhook": f"http://127.0.0.1:{hook.server_port}/200",
            "broken": f"http://127.0.0.1:{hook.server_port}/404/hunter2-CANARY",
        },
        notification_urls={"email": mailto(mail)},
    )
    assert main(["--config", str(config), "notify", "test", "--output", "json"]) == 3
    found = {one["recipient"]: one for one in json.loads(capsys.readouterr().out)["recipients"]}
    assert {name: one["status"] for name, one in found.items()} == {
        "email#a@company.com": "accepted",
        "email#gone@company.com": "dead",
        "webhook": "accepted",
        "broken": "dead",
        "log": "accepted",
    }
    assert "550" in found["email#gone@company.com"]["error"]
    assert "CANARY" not in json.dumps(found)
    assert mail.handler.got[0][1]["Subject"] == "[opsqueue] TEST: this channel works"
    assert json.loads(hook.got[0][2])["test"] is True
    sent = len(hook.got)
    assert main(["--config", str(config), "notify", "test", "webhook", "log"]) == 0
    assert main(["--config", str(config), "notify", "test", "--dry-run"]) == 0
    assert len(hook.got) == sent + 1
    assert main(["--config", str(config), "notify", "test", "webhok"]) == 2
    assert "did you mean 'webhook'?" in capsys.readouterr().err


def test_a_template_is_checked_and_shown_by_hand(tmp_path, mail, capsys):
    rules, file = shown(tmp_path)
    config = write(
        tmp_path / "opsqueue.json",
        notification_channels={"email": "a@company.com"},
        notification_urls={"email": mailto(mail)},
        notification_rules={"email": rules["email"]},
        default_channels=["email"],
    )
    check, test = (["--config", str(config), *words] for words in (("config", "check"), ("notify", "test", "email")))
    assert (main(check), main(test)) == (0, 0)
    assert "sent without" not in capsys.readouterr().err
    [(_, sent)] = mail.handler.got
    assert sent["Subject"] == "INFO: [opsqueue] TEST: this channel works"
    assert "<pre>[opsqueue] TEST" in sent.get_body(("html",)).get_content()
    file.write_text("\n\n{{ title")
    assert (main(check), main(test)) == (2, 0)
    told = capsys.readouterr()
    assert "notification_rules.email.body_template: line 3: " in told.err
    assert "email: sent without its template: line 3: " in told.err
    main(["--config", str(config), "doctor", "--output", "json"])
    checks = [one for one in json.loads(capsys.readouterr().out)["checks"] if one["check"] == "notification channels"]
    assert [(one["state"], "body_template: line 3" in one["message"]) for one in checks] == [("warn", True)]


def test_what_was_given_up_is_listed_and_tried_again(tmp_path, hook, made, capsys):
    config = write(
        tmp_path / "opsqueue.json", notification_channels={"webhook": f"http://127.0.0.1:{hook.server_port}/404"}
    )
    assert main(["--config", str(config), "notify", "list"]) == 0
    assert "there is no record yet" in capsys.readouterr().err
    world = made(settings(tmp_path, hook, channels={"webhook": f"http://127.0.0.1:{hook.server_port}/404"}))
    with world.store.begin() as tx:
        enqueue(tx, world, replace(MESSAGE, title="[opsqueue] disk full"), event_id="e1", channels=["webhook"])
        began = tx.execute(select(messages.c.created_at)).scalar_one()
    while send_due(world):
        pass
    assert main(["--config", str(config), "notify", "list", "--output", "json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["messages"]
    assert (row["event"], row["status"], row["attempts"], row["next_at"]) == ("e1", "dead", 1, None)
    assert (row["title"], row["written_at"]) == ("[opsqueue] disk full", iso(began))
    assert main(["--config", str(config), "notify", "list"]) == 0
    headers, line = capsys.readouterr().out.splitlines()
    assert headers.split() == ["WRITTEN", "RECIPIENT", "STATUS", "ATTEMPTS", "NEXT", "SUBJECT", "WHY", "EVENT"]
    assert line.startswith(f"{stamp(iso(began))}  webhook")
    assert "  disk full  " in line
    assert "answered 404" in line
    assert line.endswith("  e1")
    main(["--config", str(config), "doctor", "--output", "json"])
    checks = {one["check"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["messages"]["state"] == "warn"
    assert "1 without an operation were given up; the newest: webhook: " in checks["messages"]["message"]
    capsys.readouterr()
    assert main(["--config", str(config), "notify", "retry", "nothing"]) == 10
    assert "there is no message 'nothing': `opsqueue notify list`" in capsys.readouterr().err
    assert main(["--config", str(config), "notify", "retry", "e1"]) == 0
    assert main(["--config", str(config), "notify", "retry", "e1"]) == 9
    assert "nothing of 'e1' was given up: webhook queued" in capsys.readouterr().err
    tries = len(hook.got)
    assert send_due(world) == 1
    assert len(hook.got) == tries + 1

"""Messages, channels and backoff: pure, so every case is a row."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from opsqueue.model.names import OperationPriority, Outcome, Severity, Stage, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.notify.address import mask
from opsqueue.notify.channels import Channel, NotConfigured, resolve
from opsqueue.notify.message import MOST_BODY, MOST_SHORT, MOST_TITLE, compose
from opsqueue.notify.receipt import MOST_ATTEMPTS, final_http, retry_after
from opsqueue.notify.text import one_line, shorten
from opsqueue.secrets import SecretRef

CANARY = "hunter2-CANARY"
ID = "6d1f5b0e-3b4c-4a52-9d0a-3f0a4a3b1c11"

RESTART = Operation(
    id=ID,
    name="restart-nginx",
    type="service_restart",
    priority=OperationPriority.HIGH,
    parameters={"service_name": "nginx", "password": CANARY},
    systems=("web-1", "web-2"),
    requested_by="alice",
    reason="new certificate",
    stage=Stage.NOTIFY,
    outcome=Outcome.SUCCEEDED,
    score=83.4,
    created_at=1_700_000_000.0,
    finished_at=1_700_000_200.0,
)
TARGETS = (
    Target(operation_id=ID, host="web-1", position=0, state=TargetState.SUCCEEDED, changed=True),
    Target(
        operation_id=ID,
        host="web-2",
        position=1,
        state=TargetState.FAILED,
        changed=True,
        problems=("nginx did not come up\nline two", "port 80 is closed", "third", "fourth"),
    ),
)
FINDINGS = (
    {"severity": "info", "code": "a", "host": "web-1", "message": "quiet", "evidence": {}, "advice": ""},
    {"severity": "critical", "code": "b", "host": "web-2", "message": "disk full", "advice": "make room"},
    {"severity": "warning", "code": "c", "host": "", "message": "slow"},
)

GOLDEN = f"""\
restart-nginx: partial - some hosts succeeded, some did not
Why: web-2 failed twice
service_restart, priority high, for alice
Reason given: new certificate
Took 3 min 20 s from request to end
Score: 83 of 100

2 hosts: 1 failed, 1 succeeded
- web-2: failed, changed
    nginx did not come up …
    port 80 is closed
    third
    … 1 more problem
- web-1: succeeded, changed

3 findings, the worst first:
- critical on web-2: disk full
    make room
- warning: slow
- info on web-1: quiet

More: opsqueue show {ID}"""


def test_the_whole_body_as_a_person_reads_it():
    operation = replace(RESTART, outcome=Outcome.PARTIAL)
    assert compose(operation, TARGETS, FINDINGS, why=("web-2 failed twice",)).body == GOLDEN


@pytest.mark.parametrize(
    ("outcome", "hosts", "findings", "title", "severity"),
    [
        (Outcome.SUCCEEDED, 2, (), "succeeded (service_restart on 2 hosts)", Severity.INFO),
        (Outcome.UNCHANGED, 1, (), "unchanged (service_restart on 1 host)", Severity.INFO),
        (Outcome.PARTIAL, 2, (), "partial (service_restart on 2 hosts)", Severity.WARNING),
        (Outcome.FAILED, 2, (), "failed (service_restart on 2 hosts)", Severity.CRITICAL),
        (Outcome.ROLLED_BACK, 2, (), "rolled_back (service_restart on 2 hosts)", Severity.WARNING),
        (Outcome.DENIED, 0, (), "denied (service_restart on 2 hosts)", Severity.WARNING),
        (Outcome.CANCELLED, 2, (), "cancelled (service_restart on 2 hosts)", Severity.INFO),
        (Outcome.UNKNOWN, 2, (), "unknown (service_restart on 2 hosts)", Severity.CRITICAL),
        (
            Outcome.SUCCEEDED,
            2,
            FINDINGS,
            "succeeded (service_restart on 2 hosts), 1 critical finding",
            Severity.CRITICAL,
        ),
        (Outcome.SUCCEEDED, 2, FINDINGS[2:], "succeeded (service_restart on 2 hosts), 1 warning", Severity.WARNING),
        (Outcome.FAILED, 2, FINDINGS[2:], "failed (service_restart on 2 hosts), 1 warning", Severity.CRITICAL),
        (None, 2, (), "notify (service_restart on 2 hosts)", Severity.INFO),
    ],
)
def test_titles_and_severity(outcome, hosts, findings, title, severity):
    message = compose(replace(RESTART, outcome=outcome), TARGETS[:hosts], findings)
    assert message.title == f"[opsqueue] restart-nginx: {title}"
    assert message.severity is severity
    assert message.payload["severity"] == severity.value


def test_a_held_operation_names_its_gates_and_a_cancelled_one_its_reason():
    held = compose(replace(RESTART, outcome=None, hold=("approval",), stage=Stage.WINDOW), ())
    assert "restart-nginx: waiting (" in held.title
    assert "Held by: approval" in held.body
    cancelled = compose(replace(RESTART, outcome=Outcome.CANCELLED, cancel_asked="bob: wrong host"), ())
    assert "Why: bob: wrong host" in cancelled.body


def test_the_reasons_of_the_gates_that_denied_are_told():
    verdicts = (
        {"gate": "freeze", "verdict": "deny", "why": "frozen until Monday", "until": None},
        {"gate": "approval", "verdict": "hold", "why": "nobody approved", "until": None},
        {"gate": "rollout", "verdict": "pass", "why": "all well", "until": None},
    )
    denied = compose(replace(RESTART, outcome=Outcome.DENIED, verdicts=verdicts), (), why=("frozen until Monday",))
    assert denied.payload["why"] == ["frozen until Monday"]
    held = compose(replace(RESTART, outcome=None, verdicts=verdicts), ())
    assert held.payload["why"] == ["frozen until Monday", "nobody approved"]
    assert "Why: nobody approved" in held.body


def test_the_payload_is_json_with_all_that_another_system_needs():
    message = compose(replace(RESTART, outcome=Outcome.PARTIAL), TARGETS, FINDINGS, why=("because",))
    assert json.loads(json.dumps(message.payload, allow_nan=False)) == {
        "event": "operation.finished",
        "operation_id": ID,
        "name": "restart-nginx",
        "type": "service_restart",
        "status": "partial",
        "outcome": "partial",
        "severity": "critical",
        "priority": "high",
        "requested_by": "alice",
        "reason": "new certificate",
        "why": ["because"],
        "systems": ["web-1", "web-2"],
        "hosts": {"web-1": "succeeded", "web-2": "failed"},
        "findings": [
            {"severity": "critical", "code": "b", "host": "web-2", "message": "disk full", "advice": "make room"},
            {"severity": "warning", "code": "c", "host": "", "message": "slow", "advice": ""},
            {"severity": "info", "code": "a", "host": "web-1", "message": "quiet", "advice": ""},
        ],
        "findings_total": 3,
        "health_score": 83.4,
        "seconds": 200.0,
        "finished_at": "2023-11-14T22:16:40+00:00",
    }


def test_the_end_is_that_of_the_last_target_while_the_operation_is_still_open():
    ended = replace(TARGETS[0], finished_at=1_700_000_042.0)
    message = compose(replace(RESTART, finished_at=None), (ended,))
    assert "Took 42 s" in message.body
    assert message.payload["finished_at"] == "2023-11-14T22:14:02+00:00"
    assert compose(replace(RESTART, finished_at=None), ()).payload["finished_at"] is None


def test_findings_are_those_of_the_record_unless_given():
    assert "disk full" in compose(replace(RESTART, findings=FINDINGS), ()).body
    assert "disk full" not in compose(replace(RESTART, findings=FINDINGS), (), ()).body


def test_parameters_appear_nowhere():
    assert CANARY not in repr(compose(RESTART, TARGETS, FINDINGS))


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number_is_not_told(score):
    message = compose(replace(RESTART, score=score), ())
    assert "Score" not in message.body
    assert message.payload["health_score"] is None


HOSTILE = [
    "x\r\nBcc: evil@example.com",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31mred",
    "a\u2028b\u2029c\x85d",
    "nginx\u202egpj.exe\u2066",
    "half \ud83d of a pair",
    "n" * 5000,
    "\x1b" * 5000,
    "\u4f60\u597d \U0001f525" * 100,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_cannot_leave_their_line(name):
    # The record of an old version, or of a type that somebody else wrote, may hold anything.
    operation = replace(RESTART, name=name, type=name, requested_by=name, reason=name, systems=(name,), id=name)
    targets = tuple(replace(target, host=f"{name}{target.position}", problems=(name,)) for target in TARGETS)
    findings = ({"severity": name, "host": name, "message": name, "advice": name},)
    message = compose(operation, targets, findings, why=(name,))
    assert len(message.title) <= MOST_TITLE
    assert len(message.body) <= MOST_BODY
    assert len(message.short) <= MOST_SHORT
    for text in (message.title, message.short, *message.body.split("\n")):
        text.encode()
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u2028\u2029\u202e\u2066" for char in text)
    assert len(compose(operation, targets, findings).body.split("\n")) < 30
    json.dumps(message.payload, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("text", "most", "line"),
    [
        ("plain", 10, "plain"),
        ("\u4f60\u597d", 10, "\u4f60\u597d"),
        ("a\nb\tc", 20, r"a\nb\tc"),
        ("\x1b[1m", 20, r"\x1b[1m"),
        ("\x85", 20, r"\x85"),
        ("\u202e", 20, r"\u202e"),
        ("abcdef", 4, "abc…"),
    ],
)
def test_one_line(text, most, line):
    assert one_line(text, most) == line


def test_a_long_body_is_cut_at_a_line_and_keeps_its_last():
    long = compose(RESTART, tuple(replace(TARGETS[1], host=f"web-{n}", problems=("p" * 290,) * 3) for n in range(200)))
    lines = long.body.split("\n")
    assert len(long.body) <= MOST_BODY
    assert lines[-1] == f"More: opsqueue show {ID}"
    assert lines[-2].startswith("… ")
    assert lines[-2].endswith(" more lines")
    assert "200 hosts: 200 failed" in lines


def test_many_hosts_show_the_worst_first():
    many = tuple(replace(TARGETS[0], host=f"ok-{n}", position=n) for n in range(50))
    body = compose(RESTART, (*many, replace(TARGETS[1], position=99))).body
    assert body.index("web-2: failed") < body.index("ok-0: succeeded")
    assert "… 31 more hosts: 31 succeeded" in body


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("a\nb\nc", 5, "a\nb\nc"),
        ("aaaa\n" * 10 + "end", 30, "aaaa\naaaa\n… 8 more lines\nend"),
        ("x" * 30, 10, "xxxxxxxxx…"),
    ],
)
def test_shorten(text, most, short):
    assert shorten(text, most) == short
    assert len(short) <= most


def test_the_short_form_fits_one_sms_and_costs_no_second_alphabet():
    message = compose(replace(RESTART, outcome=Outcome.PARTIAL, name="[a]{b}~" * 20), TARGETS, FINDINGS)
    assert len(message.short) <= MOST_SHORT
    assert message.short.isascii()
    assert not set(message.short) & set("[]{}~^\\|`")
    assert message.short.endswith(f": partial, 1 of 2 hosts good, 1 critical finding. opsqueue show {ID}")


# --- channels


@pytest.mark.parametrize(
    ("name", "channels", "urls", "found"),
    [
        ("log", {}, {}, ("log:",)),
        ("log", {"log": "x@example.com"}, {"log": "json://elsewhere"}, ("log:",)),
        (
            "email",
            {"email": "admin@company.com"},
            {},
            ("mailto://localhost:25?from=opsqueue%40web-1.example.com&to=admin%40company.com",),
        ),
        (
            "email",
            {"email": "a@company.com, b+c@company.com,"},
            {},
            (
                "mailto://localhost:25?from=opsqueue%40web-1.example.com&to=a%40company.com",
                "mailto://localhost:25?from=opsqueue%40web-1.example.com&to=b%2Bc%40company.com",
            ),
        ),
        ("webhook", {"webhook": "http://localhost:8000/alerts"}, {}, ("http://localhost:8000/alerts",)),
        ("pager", {"pager": "https://pager.example.com/x"}, {}, ("https://pager.example.com/x",)),
        ("slack", {"slack": "#ops-alerts"}, {"slack": "slack://T/B/C"}, ("slack://T/B/C/%23ops-alerts",)),
        ("slack", {"slack": "#ops-alerts"}, {"slack": "slack://T/B/C/#other"}, ("slack://T/B/C/#other",)),
        ("slack", {"slack": "#a"}, {"slack": "slack://T/B/C?footer=no"}, ("slack://T/B/C/%23a?footer=no",)),
        ("slack", {}, {"slack": "slack://T/B/C"}, ("slack://T/B/C",)),
        (
            "sms",
            {"sms": "+1555,+1666"},
            {"sms": "twilio://S:T@F/{to}"},
            ("twilio://S:T@F/%2B1555", "twilio://S:T@F/%2B1666"),
        ),
        ("email", {"email": "a@b.co"}, {"email": "mailtos://u:p@h?to={to}"}, ("mailtos://u:p@h?to=a%40b.co",)),
        ("email", {"email": "a@b.co"}, {"email": ("json://one", "json://two")}, ("json://one", "json://two")),
    ],
)
def test_channels_that_can_be_reached(name, channels, urls, found):
    channel = resolve(name, channels, urls, hostname="web-1.example.com")
    assert isinstance(channel, Channel)
    assert channel.urls == found


@pytest.mark.parametrize(
    ("name", "channels", "urls", "why"),
    [
        ("slack", {"slack": "#ops-alerts"}, {}, "set notification_urls.slack"),
        ("sms", {"sms": "+15551234567"}, {}, "set notification_urls.sms"),
        ("slak", {"slack": "#ops-alerts", "email": "a@b.co"}, {}, "configured are: email, log, slack"),
        ("email", {"email": "admin"}, {}, "one e-mail address or several"),
        ("email", {"email": "root@db1"}, {}, "six letters"),
        ("email", {"email": "a@b.co&smtp=evil.example.com"}, {}, "one e-mail address or several"),
        ("email", {"email": "a@b.co\r\nBcc: x@y.zz"}, {}, "one e-mail address or several"),
        ("webhook", {"webhook": "localhost:8000/alerts"}, {}, "neither with http:// nor with https://"),
        ("webhook", {"webhook": "http:///alerts"}, {}, "has no host"),
        ("webhook", {"webhook": "http://h:99999/"}, {}, "cannot be read"),
        ("webhook", {"webhook": "http://h/a b"}, {}, "space or control"),
        ("slack", {}, {"slack": "xoxb-token"}, "beginning with its scheme"),
        ("sms", {}, {"sms": "twilio://S:T@F/{to}"}, "notification_channels.sms names nobody"),
        (
            "sms",
            {},
            {"sms": SecretRef.model_validate({"$secret": "env:OPSQUEUE_TEST_NOWHERE"})},
            "OPSQUEUE_TEST_NOWHERE",
        ),
    ],
)
def test_channels_that_cannot_be_reached_say_which_setting_is_missing(name, channels, urls, why):
    found = resolve(name, channels, urls, hostname="web-1")
    assert isinstance(found, NotConfigured)
    assert why in found.why


@pytest.mark.parametrize(
    ("hostname", "domain"),
    [
        ("web-1.example.com", "web-1.example.com"),
        ("webserver", "webserver"),
        ("db1", "db1.localdomain"),
        ("my_host_1", "my-host-1"),
        ("\u2603", "localhost"),
    ],
)
def test_the_sender_has_a_domain_that_apprise_accepts(hostname, domain):
    channel = resolve("email", {"email": "a@b.co"}, {}, hostname=hostname)
    assert isinstance(channel, Channel)
    assert f"from=opsqueue%40{domain}&" in channel.urls[0]


def test_a_reference_to_a_secret_is_read_when_it_is_needed(monkeypatch):
    monkeypatch.setenv("OPSQUEUE_TEST_SLACK", f"slack://T/B/{CANARY}")
    reference = SecretRef.model_validate({"$secret": "env:OPSQUEUE_TEST_SLACK"})
    channel = resolve("slack", {"slack": "#ops"}, {"slack": reference})
    assert isinstance(channel, Channel)
    assert channel.urls == (f"slack://T/B/{CANARY}/%23ops",)
    assert CANARY not in repr(channel)


def test_each_recipient_can_have_a_record_of_its_own():
    settings = {"email": "a@company.com,b@company.com"}, {"two": ("json://one", "json://two")}
    both = resolve("email", *settings, hostname="h.example.com")
    assert isinstance(both, Channel)
    assert [part.name for part in both.apart()] == ["email#a@company.com", "email#b@company.com"]
    for part in both.apart():
        assert resolve(part.name, *settings, hostname="h.example.com") == part
    gone = resolve("email#c@company.com", *settings)
    assert isinstance(gone, NotConfigured)
    assert "no recipient 'c@company.com' any more" in gone.why
    two = resolve("two", *settings)
    assert isinstance(two, Channel)
    assert [part.name for part in two.apart()] == ["two#1", "two#2"]
    assert two.apart()[0].apart() == (two.apart()[0],)


# --- secrets, backoff, floors


@pytest.mark.parametrize(
    "url",
    [
        f"mailtos://user:{CANARY}@smtp.example.com?to=a@b.co",
        f"slack://TOKEN/{CANARY}/x/#ops",
        f"discord://{CANARY}/token",
        f"tgram://123456:{CANARY}/chat",
        f"https://example.com/hook?key={CANARY}&a=b",
        f"https://example.com/{CANARY}",
        f"http://{CANARY}@example.com/",
        f"json://example.com/path?+Authorization={CANARY}",
        f"twilio://SID:{CANARY}@FROM/TO",
    ],
)
def test_no_piece_of_an_address_that_may_be_a_secret_is_shown(url):
    said = mask(f"could not reach {url} with {CANARY} at all", url)
    assert CANARY not in said
    assert said.startswith("could not reach ")
    assert said.endswith(" at all")


def test_a_quoted_secret_is_hidden_in_both_spellings():
    assert mask("a p@ss/word b p%40ss%2Fword", "mailto://user:p%40ss%2Fword@example.com") == "a *** b ***"


def test_what_is_no_secret_stays_readable():
    url = "mailto://localhost:25?from=opsqueue%40h.example.com&to=admin%40company.com"
    said = "E-Mail: SMTP 550 no such mailbox admin@company.com at localhost"
    assert mask(said, url) == said


def test_backoff_grows_and_its_jitter_follows_from_the_event():
    for attempts, base in enumerate((5, 15, 60, 300, 900, 3600, 3600, 3600), start=1):
        waits = {retry_after(attempts, f"event-{number}") for number in range(50)}
        assert len(waits) == 50
        assert min(waits) >= base * 0.8
        assert max(waits) <= base * 1.2
        assert retry_after(attempts, "e") == retry_after(attempts, "e")
    assert 4 <= retry_after(0) <= 6
    assert sum(retry_after(attempts) for attempts in range(1, MOST_ATTEMPTS)) < 86_400


@pytest.mark.parametrize(
    ("code", "final"),
    [
        (301, True),
        (302, True),
        (400, True),
        (404, True),
        (408, False),
        (425, False),
        (429, False),
        (500, False),
        (503, False),
    ],
)
def test_which_http_answers_are_final(code, final):
    assert final_http(code) is final


def test_messages_and_sending_do_not_import_apprise_until_it_is_needed():
    code = "import sys, opsqueue.notify.message, opsqueue.notify.send; sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Links to acknowledge: what signs them, what they say, and where in a message they stand."""

from __future__ import annotations

import base64
import json

import pytest

from opsqueue.errors import InvalidConfig
from opsqueue.model.names import Severity
from opsqueue.notify.ack_link import Claim, opened, to_acknowledge, token, with_link
from opsqueue.notify.message import MOST_BODY, Message
from opsqueue.notify.sms import cost, fitted
from opsqueue.pipeline.alert_links import ack_key, linked
from opsqueue.settings import Settings, load

KEY = "0123456789abcdef"
CLAIM = Claim("alerts:default:0123456789abcdef:1800000000", "email#ops@company.com", 1_800_000_000)
FIRING = {"incident": "i1", "status": "firing", "labels": {}}
MESSAGE = Message(
    title="[opsqueue] cpu on h1: 1 firing",
    body="Firing:\n- cpu\n\nMore: opsqueue alerts list",
    severity=Severity.WARNING,
    payload={"event": "alerts", "alerts": [FIRING, {**FIRING, "incident": "i2", "status": "resolved"}]},
    short="cpu on h1: 1 firing. opsqueue alerts list",
)
URL = f"https://ops.example.com/ack?t={token(CLAIM, KEY)}"


def test_a_token_says_what_was_signed():
    assert opened(token(CLAIM, KEY), KEY) == CLAIM
    odd = Claim("é\n\x00", "\u202e", -1)
    assert opened(token(odd, KEY), KEY) == odd


def test_whatever_is_changed_is_no_token():
    text = token(CLAIM, KEY)
    assert opened(text, f"{KEY}0") is None
    for place in range(len(text)):
        for letter in "Ab.=\n":
            changed = text[:place] + letter + text[place + 1 :]
            assert changed == text or opened(changed, KEY) is None, place
    for other in ("", ".", text[:-1], f"{text}\n", f" {text}", f"{text}=", text * 9, "é" * 50, "x" * 10_000):
        assert opened(other, KEY) is None


def test_what_the_same_key_signs_elsewhere_is_no_token():
    body = base64.urlsafe_b64encode(json.dumps(["e", "r", 2**33]).encode()).rstrip(b"=").decode()
    mac = __import__("hmac").new(KEY.encode(), body.encode(), "sha256").digest()
    assert opened(f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}", KEY) is None


@pytest.mark.parametrize(
    ("payload", "incidents"),
    [
        (MESSAGE.payload, ["i1"]),
        ({"alerts": [{**FIRING, "status": "flapping"}]}, ["i1"]),
        ({"alerts": [{**FIRING, "status": "resolved"}]}, []),
        ({"alerts": [{**FIRING, "incident": ""}]}, []),
        ({"alerts": 3}, []),
        ({"event": "operation.finished"}, []),
    ],
)
def test_what_there_is_to_acknowledge(payload, incidents):
    assert to_acknowledge(payload) == incidents


def test_the_link_is_whole_in_every_form_of_the_message():
    long = Message(
        title="t" * 250,
        body="line\n" * 799 + "More: x",
        severity=Severity.INFO,
        payload=MESSAGE.payload,
        short="s" * 160,
    )
    for message in (MESSAGE, long):
        found = with_link(message, URL, 2)
        assert (len(found.body) <= MOST_BODY, found.body.endswith(f"\nAcknowledge: {URL}")) == (True, True)
        assert found.payload["ack_url"] == URL
        sms = fitted(found.short, 2)
        assert (cost(sms).parts, sms.endswith(URL), sms.startswith(message.title[:30])) == (2, True, True)
        assert with_link(message, URL, 1).short == message.short, "the command, where the link has no room"
    assert "ack_url" not in MESSAGE.payload


def given(tmp_path, key=KEY, **more):
    file = tmp_path / "key"
    file.write_text(f"{key}\n")
    file.chmod(0o600)
    return Settings(alerts={"ack_url": "https://ops.example.com/oq/", "ack_key": {"$secret": f"file:{file}"}, **more})


def test_a_message_gets_the_link_of_its_recipient(tmp_path):
    settings = given(tmp_path, ack_link_s=600)
    found, missing = linked(settings, MESSAGE, event="e1", recipient="sms#+1", now=1000.5, parts=2)
    where, _, text = found.payload["ack_url"].partition("?t=")
    assert (where, missing) == ("https://ops.example.com/oq/ack", "")
    assert opened(text, KEY) == Claim("e1", "sms#+1", 1600)
    over = Message(
        **{n: getattr(MESSAGE, n) for n in ("title", "body", "severity", "short")}, payload={"event": "test"}
    )
    assert linked(settings, over, event="e1", recipient="r", now=0, parts=2) == (over, "")
    assert linked(Settings(), MESSAGE, event="e1", recipient="r", now=0, parts=2) == (MESSAGE, "")


@pytest.mark.parametrize("key", ["", "short-CANARY"])
def test_a_key_that_signs_nothing_is_refused_and_not_shown(tmp_path, key):
    settings = given(tmp_path, key)
    with pytest.raises(InvalidConfig, match="at least 16 characters") as raised:
        ack_key(settings)
    assert "CANARY" not in raised.value.message
    found, missing = linked(settings, MESSAGE, event="e1", recipient="r", now=0, parts=2)
    assert (found, missing.startswith("sent without a link to acknowledge: alerts.ack_key: ")) == (MESSAGE, True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ops.example.com",
        "ftp://a",
        "https://",
        "https://u:p@a",
        "https://a?b",
        "https://a#b",
        "https://a b",
        "http://a:x",
    ],
)
def test_where_people_go_is_an_address(tmp_path, url):
    with pytest.raises(ValueError, match="ack_url"):
        given(tmp_path, ack_url=url)


def test_the_address_and_the_key_go_together(tmp_path, monkeypatch):
    for half in ({"ack_url": None}, {"ack_key": None}):
        with pytest.raises(ValueError, match="both ack_url and ack_key"):
            given(tmp_path, **half)
    monkeypatch.setenv("OPSQUEUE_CONFIG", str(tmp_path / "none.json"))
    (tmp_path / "none.json").write_text("{}")
    monkeypatch.setenv("OPSQUEUE_ALERTS__ACK_KEY", "CANARY-in-plain-text")
    with pytest.raises(InvalidConfig, match="ACK_KEY") as raised:
        load()
    assert "CANARY" not in raised.value.message

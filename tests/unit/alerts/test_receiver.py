"""Who may say something to the receiver of webhooks, and where it may listen."""

from __future__ import annotations

import json
from email.message import Message

import pytest

from opsqueue.errors import InvalidConfig, InvalidRequest
from opsqueue.settings import Settings
from opsqueue.tasks.receiver import place, the_token
from opsqueue.tasks.receiver_http import refusal

TOKEN = "0123456789abcdef"


def asked(method="POST", path="/alertmanager", token="", most_bytes=100, links=False, **headers):
    head = Message()
    for name, value in {"Content_Length": "10", **headers}.items():
        for one in value if isinstance(value, list) else [value]:
            head.add_header(name.replace("_", "-"), one)
    found = refusal(method, path, head, token=token, most_bytes=most_bytes, links=links)
    return found and (int(found.status), found.said["error"])


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({}, None, ""),
        ({"Content_Length": "100"}, None, ""),
        ({"token": TOKEN, "Authorization": f"Bearer {TOKEN}"}, None, ""),
        ({"token": TOKEN, "Authorization": f"bearer  {TOKEN} "}, None, ""),
        ({"method": "GET", "path": "/healthz", "token": TOKEN}, None, ""),
        ({"path": "/"}, 404, "/alertmanager"),
        ({"path": "/ack"}, 404, "/alertmanager"),
        ({"path": "/ack", "links": True, "token": TOKEN, "Origin": "null", "Content_Length": []}, None, ""),
        ({"path": "/ack", "links": True, "method": "PUT"}, 405, "GET, HEAD, POST"),
        ({"links": True, "Origin": "null"}, 403, "browser"),
        ({"path": "/alertmanager/"}, 404, "/alertmanager"),
        ({"method": "GET"}, 405, "POST"),
        ({"path": "/healthz"}, 405, "GET, HEAD"),
        ({"Origin": "http://127.0.0.1:9095"}, 403, "browser"),
        ({"token": TOKEN}, 401, "Bearer"),
        ({"token": TOKEN, "Authorization": f"Bearer {TOKEN}0"}, 401, "Bearer"),
        ({"token": TOKEN, "Authorization": f"Basic {TOKEN}"}, 401, "Bearer"),
        ({"token": TOKEN, "Authorization": "Bearer é"}, 401, "Bearer"),
        ({"token": TOKEN, "Authorization": "Bearer", "Content_Length": "999"}, 401, "Bearer"),
        ({"Content_Length": []}, 411, "Content-Length"),
        ({"Transfer_Encoding": "chunked"}, 411, "one piece"),
        ({"Content_Length": ["10", "11"]}, 400, "no number"),
        ({"Content_Length": "-1"}, 400, "no number"),
        ({"Content_Length": "1e2"}, 400, "no number"),
        ({"Content_Length": "²"}, 400, "no number"),
        ({"Content_Length": "9" * 5000}, 400, "no number"),
        ({"Content_Length": "101"}, 413, "max_alerts"),
    ],
)
def test_what_is_listened_to(given, status, said):
    found = asked(**given)
    assert (found and found[0]) == status
    assert found is None or said in found[1]


@pytest.mark.parametrize("where", ["127.0.0.1:0", "[::1]:9095", "localhost:9095", "127.9.9.9:1"])
def test_without_a_token_only_this_machine_is_heard(where):
    assert place(where, guarded=False)[1][1] == int(where.rpartition(":")[2])


@pytest.mark.parametrize("where", ["0.0.0.0:9095", "[::]:9095", "192.0.2.1:9095"])
def test_others_are_heard_with_a_token_only(where):
    with pytest.raises(InvalidRequest, match=r"--token-file.*receive_token"):
        place(where, guarded=False)
    assert place(where, guarded=True)[1][0] == where.rpartition(":")[0].strip("[]")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        *((one, "HOST:PORT") for one in ("9095", ":9095", "127.0.0.1", "127.0.0.1:65536", "::1:9095", "a b:1")),
        ("a..b:9095", "no address is known"),
    ],
)
def test_what_is_no_place(where, said):
    with pytest.raises(InvalidRequest, match=said):
        place(where, guarded=True)


def test_the_token_is_read_where_the_configuration_or_the_command_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", f"{TOKEN}\n")
    file = tmp_path / "token"
    file.write_text(f"of-a-file-{TOKEN}\n")
    file.chmod(0o600)
    settings = Settings(alerts={"receive_token": {"$secret": "env:HOOK_TOKEN"}})
    assert the_token(Settings(), None) == ""
    assert the_token(settings, None) == TOKEN
    assert the_token(settings, str(file)) == f"of-a-file-{TOKEN}"
    assert TOKEN not in json.dumps(settings.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"short", 0o600, "at least 16"),
        (b"", 0o600, "at least 16"),
        (TOKEN.encode() + b" x", 0o600, "no space"),
        (TOKEN.encode() + b"\nx", 0o600, "no space"),
        (b"\xff" * 20, 0o600, "ASCII"),
        (TOKEN.encode(), 0o644, "chmod 600"),
    ],
)
def test_a_token_that_guards_nothing_is_refused(tmp_path, content, mode, said):
    file = tmp_path / "token"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(InvalidConfig, match=said) as raised:
        the_token(Settings(), str(file))
    assert TOKEN not in raised.value.message


def test_a_token_in_plain_text_is_refused():
    with pytest.raises(ValueError, match="receive_token"):
        Settings(alerts={"receive_token": TOKEN})

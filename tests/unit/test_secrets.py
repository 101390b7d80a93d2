from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from opsqueue.connectors.confidential import revealed
from opsqueue.errors import InvalidConfig
from opsqueue.operations import OWN
from opsqueue.secrets import SecretRef, literal_secrets

REF = {"$secret": "env:NAME"}
MAIL = "mailto://127.0.0.1:2525?from=ops@example.com&to=a@example.com"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"password": "x"}, "password"),
        ({"a": {"api_key": "x", "keys": "x"}}, "a.api_key"),
        ({"DB_PASSWORD": "x"}, "DB_PASSWORD"),
        ({"broker_url": "redis://:hunter2@redis:6379/0"}, "broker_url"),
        ({"list": [{"token": "x"}]}, "list[0].token"),
        ({"notification_urls": {"slack": "slack://xoxb-1/ops"}}, "notification_urls.slack"),
        ({"notification_urls": {"web": ["json://h:8000/x", "json://me:pw@h/x"]}}, "notification_urls.web[1]"),
        ({"notification_urls": {"email": "mailtos://me:pa?ss@example.com"}}, "notification_urls.email"),
        ({"notification_urls": {"email": "mailtos://me:pw@h:587?from=a@b.org"}}, "notification_urls.email"),
    ],
)
def test_a_secret_in_plain_text_is_found(data, place):
    assert literal_secrets(data) == [place]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"password": REF, "list": [REF]},
        {"broker_url": "redis://redis:6379/0"},
        {"passwords_per_day": "3", "tokens": "4"},
        {"notification_urls": {"email": MAIL, "web": "json://127.0.0.1:8000/x"}},
    ],
)
def test_what_is_none_is_left_alone(data):
    assert literal_secrets(data) == []


def test_a_reference_is_read_when_it_is_needed(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    monkeypatch.setenv("NAME", "hunter3")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    refs = (f"file:{file}", "env:NAME", "systemd:secret")
    assert [SecretRef(ref=ref).resolve() for ref in refs] == ["hunter2", "hunter3", "hunter2"]


def test_a_file_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "secret"
    file.write_text("hunter2")
    file.chmod(0o644)
    with pytest.raises(InvalidConfig, match="chmod 600") as caught:
        SecretRef(ref=f"file:{file}").resolve()
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("ref", ["env:OPSQUEUE_NO_SUCH", "file:/no/such", "systemd:none"])
def test_a_reference_to_nothing_names_itself(ref, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(InvalidConfig, match=ref):
        SecretRef(ref=ref).resolve()


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("env:NO_SUCH", "there is no NO_SUCH in the environment"),
        ("systemd:none", "there is no CREDENTIALS_DIRECTORY in the environment"),
        ("file:/no/such", "No such file or directory"),
    ],
)
def test_why_it_cannot_be_read_is_said_in_words(ref, said, monkeypatch):
    for name in ("NO_SUCH", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidConfig, match=said) as caught:
        SecretRef(ref=ref).resolve()
    assert "Error" not in caught.value.message


@pytest.mark.parametrize("ref", ["vault:x", "file:", "hunter2", "env:a\nb"])
def test_a_reference_of_no_known_kind_is_none(ref):
    with pytest.raises(ValidationError):
        SecretRef(ref=ref)


def test_whoever_takes_a_secret_is_known():
    """Each of these has a canary that is looked for in record, logs, arguments and messages; a new one needs its own.

    `test_backup.py` of the acceptance tests has that of backups, the integration tests of databases have theirs,
    and that of health checks is in `test_health_story.py` of the pipeline's.
    """
    takers = {kind.name for kind in OWN if "SecretRef" in kind.params.model_json_schema().get("$defs", {})}
    assert takers == {"backup_operation", "database_maintenance", "health_check"}


def test_a_credential_is_a_name_and_no_way_to_another_file(tmp_path, monkeypatch):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "shadow").write_text("hunter2")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    for name in ("../shadow", str(tmp_path / "shadow")):
        with pytest.raises(InvalidConfig, match="by its name"):
            SecretRef(ref=f"systemd:{name}").resolve()


def test_the_settings_of_the_worker_are_handed_to_no_operation(monkeypatch):
    monkeypatch.setenv("OPSQUEUE_BROKER_URL", "redis://:hunter2@redis")
    with pytest.raises(InvalidConfig, match="OPSQUEUE_BROKER_URL") as caught:
        revealed({"REDISCLI_AUTH": "env:OPSQUEUE_BROKER_URL"})
    assert "hunter2" not in str(caught.value)


def test_what_stands_against_a_reference_is_told_and_never_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH", raising=False)
    good, open_to_all, empty, binary = (tmp_path / name for name in ("good", "open", "empty", "binary"))
    for file, held, mode in (
        (good, b"hunter2", 0o600), (open_to_all, b"hunter2", 0o644), (empty, b"\n", 0o600), (binary, b"\xff", 0o600),
    ):  # fmt: skip
        file.write_bytes(held)
        file.chmod(mode)
    said = {name: SecretRef(ref=ref).problem() for name, ref in {
        "good": f"file:{good}", "open": f"file:{open_to_all}", "empty": f"file:{empty}", "binary": f"file:{binary}",
        "missing": f"file:{tmp_path}/none", "folder": f"file:{tmp_path}", "env": "env:NO_SUCH",
    }.items()}  # fmt: skip
    assert said.pop("good") == ""
    wanted = {"open": "chmod 600", "empty": "is empty", "binary": "UTF-8", "missing": "No such file", "env": "NO_SUCH"}
    assert [name for name, word in wanted.items() if word not in said[name]] == []
    assert said["folder"]
    assert not any("hunter2" in text or "0xff" in text for text in said.values())


def test_a_pipe_is_not_emptied_by_a_look_at_it(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert SecretRef(ref=f"file:{tmp_path / 'pipe'}").problem() == ""

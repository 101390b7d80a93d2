from __future__ import annotations

import base64
import hashlib
import hmac
import os
import subprocess
import sys

import pytest

from opsqueue.connectors.ssh.trust import HostKey, changed, entry, pin, pinned, unknown_key
from opsqueue.errors import HostNotTrusted
from opsqueue.model.host import Host

ONE = HostKey("ssh-ed25519", base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"1" * 32).decode())
TWO = HostKey("ssh-ed25519", base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"2" * 32).decode())
WEB = Host(name="web", address="10.0.0.5", connector="ssh", port=2222)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state" / "known_hosts"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (WEB, "[10.0.0.5]:2222"),
        (Host(name="web", address="10.0.0.5"), "10.0.0.5"),
        (Host(name="Web.Example.org"), "web.example.org"),
        (Host(name="web", address="fe80::1", port=22), "fe80::1"),
        (Host(name="web", address="fe80::1", port=23), "[fe80::1]:23"),
        (Host(name="web", address="10.0.0.5", gateway="gw-a"), "10.0.0.5@gw-a"),
        (WEB.model_copy(update={"gateway": "gw-b"}), "[10.0.0.5]:2222@gw-b"),
    ],
)
def test_the_name_in_the_file_is_that_of_openssh(host, name):
    assert entry(host) == name


def test_nothing_is_trusted_before_it_was_pinned(file):
    assert pinned(file, WEB) == ()
    assert pin(file, WEB, ONE)
    assert pinned(file, WEB) == (ONE,)
    assert pinned(file, WEB.model_copy(update={"port": 22})) == ()
    assert not pin(file, WEB, ONE)
    assert file.read_text() == f"[10.0.0.5]:2222 {ONE.kind} {ONE.data}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_another_key_is_only_taken_when_it_may_replace(file):
    pin(file, WEB, ONE)
    with pytest.raises(HostNotTrusted, match="--replace"):
        pin(file, WEB, TWO)
    assert pinned(file, WEB) == (ONE,)
    assert pin(file, WEB, TWO, replace=True)
    assert pinned(file, WEB) == (TWO,)
    assert not pin(file, WEB, TWO, replace=True)


def test_what_others_wrote_is_kept(file):
    file.parent.mkdir()
    lines = [
        "# ours",
        "",
        f"other,[10.0.0.5]:2222 {ONE.kind} {ONE.data} a comment",
        "junk",
        "@cert-authority * ssh-rsa AAAA",
    ]
    file.write_text("\n".join(lines))
    other = Host(name="other", connector="ssh")
    assert pinned(file, WEB) == pinned(file, other) == (ONE,)
    pin(file, WEB, TWO, replace=True)
    assert pinned(file, other) == (ONE,)
    assert pinned(file, WEB) == (TWO,)
    assert [line for line in file.read_text().splitlines() if line in lines] == [lines[0], lines[1], lines[3], lines[4]]


def test_a_link_stays_a_link(file, tmp_path):
    file.parent.mkdir()
    file.symlink_to(tmp_path / "real")
    pin(file, WEB, ONE)
    assert file.is_symlink()
    assert pinned(tmp_path / "real", WEB) == (ONE,)


def test_several_keys_are_all_trusted_and_revoked_ones_not(file):
    file.parent.mkdir()
    line = f"[10.0.0.5]:2222 {ONE.kind} {ONE.data}\n[10.0.0.5]:2222 {TWO.kind} {TWO.data}\n"
    file.write_text(line)
    assert pinned(file, WEB) == (ONE, TWO)
    file.write_text(f"{line}@revoked * {ONE.kind} {ONE.data}\n")
    assert pinned(file, WEB) == (TWO,)


def test_hashed_names_are_found_and_replaced(file):
    file.parent.mkdir()
    salt = os.urandom(20)
    digest = hmac.digest(salt, b"[10.0.0.5]:2222", hashlib.sha1)
    name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    file.write_text(f"{name} {ONE.kind} {ONE.data}\n|1|odd {TWO.kind} {TWO.data}\n")
    assert pinned(file, WEB) == (ONE,)
    assert pinned(file, Host(name="x")) == ()
    pin(file, WEB, TWO, replace=True)
    assert pinned(file, WEB) == (TWO,)
    assert name not in file.read_text()


@pytest.mark.parametrize(
    "line", ["[10.0.0.5]:2222", "[10.0.0.5]:2222 ssh-ed25519", "[10.0.0.5]:2222 ssh-ed25519 ???", "\0"]
)
def test_a_line_that_cannot_be_read_trusts_nobody(file, line):
    file.parent.mkdir()
    file.write_text(f"{line}\n")
    assert pinned(file, WEB) == ()


def test_a_file_that_cannot_be_read_is_said(file):
    file.mkdir(parents=True)
    with pytest.raises(HostNotTrusted, match="cannot be read"):
        pinned(file, WEB)
    file.rmdir()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(HostNotTrusted, match="cannot be read"):
        pinned(file, WEB)


def test_a_file_that_anybody_can_write_trusts_nobody_and_takes_no_key(file):
    pin(file, WEB, ONE)
    file.chmod(0o602)
    for ask in (lambda: pinned(file, WEB), lambda: pin(file, WEB, TWO, replace=True)):
        with pytest.raises(HostNotTrusted, match=f"can be written by anybody: chmod o-w {file}"):
            ask()
    file.chmod(0o600)
    assert pinned(file, WEB) == (ONE,)


def test_a_revoked_key_cannot_be_pinned_again(file):
    file.parent.mkdir()
    file.write_text(f"@revoked * {ONE.kind} {ONE.data}\n")
    for replace in (False, True):
        with pytest.raises(HostNotTrusted, match=r"which .* revokes; take that line out first"):
            pin(file, WEB, ONE, replace=replace)
    assert pin(file, WEB, TWO)
    assert pinned(file, WEB) == (TWO,)


def test_one_address_behind_two_gateways_is_two_machines(file):
    behind = [WEB.model_copy(update={"gateway": gateway}) for gateway in ("gw-a", "gw-b", "")]
    assert pin(file, behind[0], ONE)
    assert [pinned(file, host) for host in behind] == [(ONE,), (), ()]
    assert pin(file, behind[1], TWO)
    assert [pinned(file, host) for host in behind] == [(ONE,), (TWO,), ()]


def test_the_messages_say_what_was_wanted_found_and_what_mends_it():
    message = unknown_key(WEB, ONE).message
    assert "web (10.0.0.5:2222)" in message
    assert ONE.fingerprint in message
    assert message.endswith("`opsqueue hosts trust web`.")
    message = changed(WEB, [ONE], TWO).message
    assert ONE.fingerprint in message
    assert TWO.fingerprint in message
    assert "Somebody may stand between" in message
    assert message.endswith("`opsqueue hosts trust web --replace`.")


def test_a_fingerprint_is_that_of_ssh_keygen():
    known = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    assert HostKey("ssh-ed25519", known).fingerprint == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


def test_processes_that_pin_at_once_lose_nothing(file):
    program = (
        "import sys; from pathlib import Path; from opsqueue.connectors.ssh.trust import HostKey, pin\n"
        "from opsqueue.model.host import Host\n"
        f"for n in range(20): pin(Path(sys.argv[1]), Host(name=f'h{{n}}-{{sys.argv[2]}}'), HostKey('x', {ONE.data!r}))"
    )
    at_once = [subprocess.Popen([sys.executable, "-c", program, str(file), str(number)]) for number in range(4)]
    assert [process.wait(30) for process in at_once] == [0] * 4
    assert len(file.read_text().splitlines()) == 80

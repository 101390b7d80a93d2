"""Private keys that cannot be used are told in words, before anybody tries them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opsqueue.connectors.ssh.keyfile import objection, place_of

PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----\n"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrYl1rNvfRLVr0rCPh+ZmVtTzYkJbBtMvH1lkNyHFkd me@here\n"


@pytest.fixture
def file(tmp_path):
    def write(text, name="id_ed25519", mode=0o600):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def test_a_private_key_of_our_own_is_good(file):
    for mode in (0o600, 0o400):
        path = file(PRIVATE, mode=mode)
        assert objection(path) == ""
        path.unlink()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o660])
def test_a_private_key_that_is_open_to_others_is_not_used(file, mode):
    path = file(PRIVATE, mode=mode)
    assert (
        objection(path) == f"key_file {path} is open to others (mode {mode:04o}), so it is not used: chmod 600 {path}"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: the file is given to somebody else")
def test_a_key_of_somebody_else_is_that_ones_to_protect(file):
    path = file(PRIVATE, mode=0o640)
    os.chown(path, 65534, -1)
    assert objection(path) == ""


def test_what_is_no_private_key_is_said_so_whatever_its_mode(file, tmp_path):
    public = file(PUBLIC, "id_ed25519.pub", 0o644)
    assert objection(public) == (
        f"key_file {public} is the public half of a key: name the private one, {tmp_path / 'id_ed25519'}"
    )
    assert "holds no private key" in objection(file("junk", "junk", 0o644))
    assert objection(tmp_path / "missing") == f"key_file {tmp_path / 'missing'} is not there"
    assert objection(tmp_path, "the private key") == f"the private key {tmp_path} is no file"


def test_a_relative_path_is_told_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of("keys/id") == tmp_path / "keys" / "id"
    assert place_of("~/id") == Path.home() / "id"

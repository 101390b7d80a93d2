"""Whether a file can be the private key of a login, told without opening it as one: in words, with what to do."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from opsqueue.model.host import Host

_LOOKED_AT = 4096
"""Bytes; a private key says what it is in its first line."""
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-", b"---- BEGIN SSH2 PUBLIC", b"-----BEGIN PUBLIC KEY")
_OTHERS = 0o077


def place_of(path: str) -> Path:
    """The whole path of a key or certificate: `~` is the user's home, and others count from the working directory."""
    return Path(path).expanduser().absolute()


def objection(file: Path, setting: str = "key_file") -> str:
    """What stands against using this file as a private key; empty when nothing does."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            return f"{setting} {file} is no file"
        with file.open("rb") as opened:
            begin = opened.read(_LOOKED_AT)
    except OSError as error:
        return f"{setting} {file} {missing(error)}"
    if begin.startswith(_PUBLIC):
        private = f", {file.with_suffix('')}" if file.suffix == ".pub" else ""
        return f"{setting} {file} is the public half of a key: name the private one{private}"
    if b"PRIVATE KEY-----" not in begin:
        return f"{setting} {file} holds no private key: name one that ssh-keygen made"
    # As OpenSSH has it: a key of another user, root perhaps, is that one's to protect.
    if found.st_uid == os.getuid() and found.st_mode & _OTHERS:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        return f"{setting} {file} is open to others (mode {mode}), so it is not used: chmod 600 {file}"
    return ""


def doubts(host: Host) -> Iterator[str]:
    """Why a worker on this machine, as this user, could not log in to a host with the files that are named for it."""
    if host.connector != "ssh":
        return
    if host.key_file and (why := objection(place_of(host.key_file))):
        yield f"{why}; a worker could not log in with it"
    if host.certificate_file and not (file := place_of(host.certificate_file)).is_file():
        yield f"certificate_file {file} is no file; a worker could not log in with it"


def missing(error: OSError) -> str:
    """Why a file cannot be read, without its name."""
    return "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"

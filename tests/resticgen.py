"""Repositories of restic whose key is derived at once.

restic makes a key cost half a second of work, again for each command; dozens of commands a test, that is most of the
time of the tests. Here the same master key lies under a key derived with the least work, and everything else is as
restic made it. Format: restic's own page on its design, "Keys, Encryption and MAC".
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

Keys = tuple[bytes, bytes, bytes]
"""Of a repository: for AES, and the two parts for Poly1305-AES."""


def repository(at: Path, password: str) -> None:
    """Make an empty repository in a directory that is not there yet, or is empty."""
    template, master = _template()
    shutil.copytree(template, at, dirs_exist_ok=True)
    for path in (at / "keys").iterdir():
        path.unlink()
    config = json.loads(_open(master, (at / "config").read_bytes()))
    (at / "config").chmod(0o600)
    (at / "config").write_bytes(_seal(master, json.dumps({**config, "id": secrets.token_hex(32)}).encode()))
    salt = os.urandom(64)
    cost: dict[str, Any] = {"kdf": "scrypt", "N": 2, "r": 8, "p": 1}
    sealed = _seal(_derived(password, salt, cost), _said(master))
    text = json.dumps({**cost, "salt": _base64(salt), "data": _base64(sealed)}).encode()
    (at / "keys" / hashlib.sha256(text).hexdigest()).write_bytes(text)


def planted(at: Path, entries: list[dict[str, Any]], tags: list[str], hostname: str) -> None:
    """Add a snapshot whose tree is told node by node, as no restic would make it.

    `content` of a node is bytes and `below` a list of nodes; the rest stands as restic keeps it.
    """
    master = _template()[1]
    blobs: list[tuple[str, bytes]] = []
    tree = _tree(entries, blobs)
    pack, offset, header, told = b"", 0, b"", []
    for kind, plain in dict.fromkeys(blobs):
        sealed = _seal(master, plain)
        name = hashlib.sha256(plain)
        header += bytes([kind == "tree"]) + len(sealed).to_bytes(4, "little") + name.digest()
        told.append({"id": name.hexdigest(), "type": kind, "offset": offset, "length": len(sealed)})
        pack, offset = pack + sealed, offset + len(sealed)
    end = _seal(master, header)
    packed = _kept(at / "data", pack + end + len(end).to_bytes(4, "little"), deep=True)
    index = {"packs": [{"id": packed, "blobs": told}]}
    _kept(at / "index", _seal(master, json.dumps(index).encode()))
    more = {"hostname": hostname, "username": "root", "tags": tags, "paths": ["/srv"]}
    snapshot = {"time": "2030-01-01T00:00:00Z", "tree": tree, **more}
    _kept(at / "snapshots", _seal(master, json.dumps(snapshot).encode()))


def _tree(entries: list[dict[str, Any]], blobs: list[tuple[str, bytes]]) -> str:
    when = dict.fromkeys(("mtime", "atime", "ctime"), "2020-01-01T00:00:00Z")
    modes = {"file": 0o644, "dir": 0x80000000 | 0o755, "symlink": 0x08000000 | 0o777}
    nodes = []
    for given in entries:
        one = {"mode": modes[given["type"]], "uid": os.geteuid(), "gid": os.getegid(), "content": None, **when, **given}
        if "below" in one:
            one["subtree"] = _tree(one.pop("below"), blobs)
        if given["type"] == "file":
            blobs.append(("data", given["content"]))
            one |= {"content": [hashlib.sha256(given["content"]).hexdigest()], "size": len(given["content"])}
        nodes.append(one)
    text = json.dumps({"nodes": nodes}).encode() + b"\n"
    blobs.append(("tree", text))
    return hashlib.sha256(text).hexdigest()


def _kept(where: Path, raw: bytes, *, deep: bool = False) -> str:
    """A file of a repository under the name that its bytes give it."""
    name = hashlib.sha256(raw).hexdigest()
    path = where / name[:2] / name if deep else where / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw)
    return name


@cache
def _template() -> tuple[Path, Keys]:
    """One that restic made, once for each process of the tests; and its master key."""
    directory = tempfile.mkdtemp(prefix="oqrestic")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    at = Path(directory) / "repository"
    env = {**os.environ, "RESTIC_PASSWORD": "template", "RESTIC_REPOSITORY": str(at)}
    subprocess.run(["restic", "--no-cache", "init"], env=env, check=True, capture_output=True, timeout=60)
    key = json.loads(next((at / "keys").iterdir()).read_text())
    derived = _derived("template", base64.b64decode(key["salt"]), key)
    told = json.loads(_open(derived, base64.b64decode(key["data"])))
    parts = (told["encrypt"], told["mac"]["k"], told["mac"]["r"])
    aes, k, r = (base64.b64decode(part) for part in parts)
    return at, (aes, k, r)


def _said(keys: Keys) -> bytes:
    aes, k, r = (_base64(part) for part in keys)
    return json.dumps({"mac": {"k": k, "r": r}, "encrypt": aes}).encode()


def _derived(password: str, salt: bytes, cost: dict[str, Any]) -> Keys:
    most = 256 * cost["N"] * cost["r"] + (1 << 20)
    made = hashlib.scrypt(
        password.encode(), salt=salt, n=cost["N"], r=cost["r"], p=cost["p"], maxmem=most, dklen=64
    )  # fmt: skip
    return made[:32], made[32:48], made[48:]


def _seal(keys: Keys, plain: bytes) -> bytes:
    start = os.urandom(16)
    crypted = Cipher(algorithms.AES(keys[0]), modes.CTR(start)).encryptor().update(plain)
    return start + crypted + _mac(keys, start, crypted)


def _open(keys: Keys, sealed: bytes) -> bytes:
    start, crypted, mac = sealed[:16], sealed[16:-16], sealed[-16:]
    assert mac == _mac(keys, start, crypted), "not the format that is known here"
    return Cipher(algorithms.AES(keys[0]), modes.CTR(start)).decryptor().update(crypted)


def _mac(keys: Keys, start: bytes, crypted: bytes) -> bytes:
    _, k, r = keys
    pad = Cipher(algorithms.AES(k), modes.ECB()).encryptor().update(start)  # one block, as Poly1305-AES is
    return Poly1305.generate_tag(r + pad, crypted)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

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

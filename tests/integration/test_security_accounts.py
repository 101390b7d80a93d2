"""Accounts that are in no list, as those of LDAP and SSSD: found by their homes and keys, and said to be more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from opsqueue.facts.on_host import program
from opsqueue.facts.security_shapes import FILES as SHAPE
from opsqueue.facts.shape import shaped
from opsqueue.model.kind import Finding, Seen
from opsqueue.operations.security_scan import OPERATION

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("unshare") or not list(Path("/lib").glob("*/libnss_systemd.so.2")),
        reason="needs root, util-linux and libnss-systemd",
    ),
]
BOB, EVE, TIM = 61501, 61502, 61503
PASSWD = """\
root:x:0:0::/root:/bin/bash
sshd:x:105:65534::/run/sshd:/usr/sbin/nologin
nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin
ann:x:61500:100::/home/ann:/bin/bash
"""
KEY = "ssh-dss AAAAB3 somebody\n"
# Everything is mounted in a name space of its own: the machine's own /etc, /home and /run are not seen in it.
INSIDE = """
set -eu
place=$1; shift
mount --make-rprivate /
cp -a /etc "$place/etc"
cp "$place/nsswitch.conf" "$place/passwd" "$place/etc/"
mount --bind "$place/etc" /etc
mount --bind "$place/home" /home
mount --bind "$place/run" /run
exec "$@"
"""


def _user(place: Path, name: str, uid: int, home: str) -> None:
    """Somebody whom another source knows, which answers when it is asked for one."""
    record = {"userName": name, "uid": uid, "gid": 100, "homeDirectory": home, "shell": "/bin/bash"}
    for file in (f"{name}.user", f"{uid}.user"):
        (place / "run/userdb").mkdir(parents=True, exist_ok=True)
        (place / "run/userdb" / file).write_text(json.dumps(record))


def _home(place: Path, home: str, uid: int, mode: int = 0o750) -> Path:
    where = place / home.lstrip("/")
    (where / ".ssh").mkdir(parents=True)
    (where / ".ssh/authorized_keys").write_text(KEY)
    for path in (where, where / ".ssh", where / ".ssh/authorized_keys"):
        os.chown(path, uid, 100)
    where.chmod(mode)
    return where


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A host where ann is in /etc/passwd; bob, eve and tim are known to somebody else."""
    tmp_path.chmod(0o755)
    for name in ("home", "run/sshd", "keys", "tree"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "nsswitch.conf").write_text("passwd: files ldap [NOTFOUND=continue] systemd # and more\n")
    (tmp_path / "passwd").write_text(PASSWD)
    _home(tmp_path, "/home/ann", 61500)
    _user(tmp_path, "bob", BOB, "/home/bob")
    _user(tmp_path, "eve", EVE, "/home/example.org/eve")
    _user(tmp_path, "tim", TIM, "/srv/nowhere/tim")
    _home(tmp_path, "/home/bob", BOB, 0o777)
    _home(tmp_path, "/home/example.org/eve", EVE)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "host")], check=True)
    (tmp_path / "sshd_config").write_text(
        f"HostKey {tmp_path}/host\nAuthorizedKeysFile .ssh/authorized_keys {tmp_path}/keys/%u.pub\n"
    )
    (tmp_path / "keys/tim.pub").write_text(KEY)
    return tmp_path


def _asked(place: Path) -> Any:
    given = {"paths": [f"{place}/tree"], "exclude_paths": [], "most": 100, "seconds": 60, "files": [],
             "sshd_config": f"{place}/sshd_config"}  # fmt: skip
    argv = ["unshare", "--mount", "sh", "-c", INSIDE, "inside", str(place)]
    argv += [sys.executable, "-I", "-c", program("files_host"), json.dumps(given)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(place / "etc")
    return shaped(json.loads(done.stdout), SHAPE)


def _scan(answer: Any, earlier: Any = None) -> tuple[Finding, ...]:
    params = OPERATION.params.model_validate({"checks": ["permissions"]})
    before = None if earlier is None else tuple(asdict(one) for one in earlier)
    seen = Seen(host="h", before={}, after={"files": answer}, metrics={}, earlier={}, thresholds={}, at=1.8e9,
                earlier_findings=before)  # fmt: skip
    return OPERATION.analyse(params, seen).findings


def _states(found: tuple[Finding, ...]) -> dict[tuple[str, str], str]:
    """How each finding stands, by what it is and what it is about."""
    return {(one.evidence.get("was", one.code), one.evidence["subject"]): one.evidence["status"] for one in found}


def test_who_is_in_no_list_is_found_by_a_home_and_by_keys(place: Path) -> None:
    answer = _asked(place)
    keys = {entry["user"]: entry["path"] for entry in answer["authorized"] if entry["user"] != "root"}
    assert keys == {
        "ann": "/home/ann/.ssh/authorized_keys",
        "bob": "/home/bob/.ssh/authorized_keys",
        "eve": "/home/example.org/eve/.ssh/authorized_keys",
        "tim": f"{place}/keys/tim.pub",
    }
    assert {"ann", "bob", "eve"} <= {entry["user"] for entry in answer["homes"]}
    assert (answer["accounts"]["sources"], answer["accounts"]["unlisted"]) == (["ldap"], 3)


def test_what_is_gone_is_fixed_where_all_are_known_and_only_there(place: Path) -> None:
    first = _scan(_asked(place))
    weak = {subject for code, subject in _states(first) if code == "authorized_keys_weak"}
    assert {"/home/ann/.ssh/authorized_keys", "/home/bob/.ssh/authorized_keys", f"{place}/keys/tim.pub"} <= weak
    said = {one.evidence["subject"]: one.message for one in first if one.code == "scan_incomplete"}
    assert "accounts of ldap are in no list: 3 were found by their homes or keys" in said["files.authorized"]
    for path in ("home/ann/.ssh/authorized_keys", "keys/tim.pub"):
        (place / path).unlink()
    shutil.rmtree(place / "home/bob")
    elsewhere = [replace(one, evidence={**one.evidence, "fingerprint": "x", "subject": "/far/max/.ssh/authorized_keys"})
                 for one in first if one.evidence["subject"] == "/home/bob/.ssh/authorized_keys"]  # fmt: skip
    states = _states(_scan(_asked(place), (*first, *elsewhere)))
    assert states["authorized_keys_weak", "/home/ann/.ssh/authorized_keys"] == "fixed"
    assert states["authorized_keys_weak", "/home/bob/.ssh/authorized_keys"] == "fixed"
    assert states["home_open", "/home/bob"] == "fixed"
    assert states["authorized_keys_weak", f"{place}/keys/tim.pub"] == "fixed"
    assert states["authorized_keys_weak", "/far/max/.ssh/authorized_keys"] == "unverified"


def test_a_line_that_stands_for_nis_is_another_source(place: Path) -> None:
    (place / "nsswitch.conf").write_text("passwd: compat\n")
    (place / "passwd").write_text(f"{PASSWD}+::::::\n")
    assert _asked(place)["accounts"]["sources"] == ["nis"]


def test_with_lists_of_its_own_only_nothing_is_missing(place: Path) -> None:
    (place / "nsswitch.conf").write_text("passwd: files systemd\ngroup: files ldap\n")
    answer = _asked(place)
    assert answer["accounts"]["sources"] == []
    assert "scan_incomplete" not in {one.code for one in _scan(answer) if "in no list" in one.message}

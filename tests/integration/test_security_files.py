"""The walk over the files of a host, on a tree with everything that is odd, and the package database beside it."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from opsqueue.facts.on_host import files_host, program
from opsqueue.facts.shape import LONGEST
from opsqueue.model.fact import unknown, why_unknown
from opsqueue.model.kind import Finding, Seen
from opsqueue.operations.security.found import missing
from opsqueue.operations.security.params import SecurityScanParams
from opsqueue.operations.security.rule import State, judge
from opsqueue.operations.security.rules_files import FILES
from opsqueue.operations.security_scan import OPERATION

SECRET = "zzTheKeyItselfzz"
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory that everybody can come to, inside of one of the test's own."""
    top = tmp_path / "tree"
    top.mkdir()
    top.chmod(0o755)
    return top


def put(path: Path, mode: int = 0o644, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def walked(tree: Path, *excluded: Path, seconds: float = 60, most: int = 100) -> files_host.Walk:
    given = {"paths": [str(tree)], "exclude_paths": list(map(str, excluded)), "most": most, "seconds": seconds}
    return files_host.Walk(given).run()


def names(walk: files_host.Walk, kind: str) -> list[str]:
    return sorted(entry["path"].rpartition("/tree/")[2] for entry in walk.found[kind].told())


def test_bits_and_modes_are_seen_and_links_are_not_followed(tree: Path) -> None:
    put(tree / "a/suid", 0o4755)
    put(tree / "a/sgid", 0o2755)
    put(tree / "a/locking", 0o2644)  # without x for the group it means mandatory locking
    put(tree / "b/open", 0o666)
    (tree / "b/link").symlink_to("open")
    (tree / "b/away").symlink_to("/etc")
    (tree / "shared").mkdir(mode=0o777)
    (tree / "shared").chmod(0o777)
    (tree / "sticky").mkdir()
    (tree / "sticky").chmod(0o1777)
    walk = walked(tree)
    assert names(walk, "suid") == ["a/sgid", "a/suid"]
    assert {entry["path"][-4:]: entry["setuid"] for entry in walk.found["suid"].told()} == {"sgid": False, "suid": True}
    assert names(walk, "world_writable") == ["b/open"]
    assert names(walk, "no_sticky") == ["shared"]
    assert walk.cut == ""


def test_what_lies_behind_a_closed_door_is_told_so(tree: Path) -> None:
    put(tree / "closed/deep/open", 0o666)
    (tree / "closed").chmod(0o700)
    put(tree / "closed/site.key", 0o644, KEY)
    put(tree / "site.key", 0o644, KEY)
    put(tree / "closed/id_rsa", 0o644, KEY)  # ssh itself refuses it
    walk = walked(tree)
    assert [entry["reached"] for entry in walk.found["world_writable"].told()] == [False]
    assert names(walk, "private_keys") == ["closed/id_rsa", "site.key"]
    assert SECRET not in json.dumps([kept.told() for kept in walk.found.values()])


def test_what_only_looks_like_a_key_is_none(tree: Path) -> None:
    put(tree / "site.key", 0o644, "-----BEGIN PUBLIC KEY-----\n")
    put(tree / "site.pem", 0o644, "-----BEGIN CERTIFICATE-----\n")
    put(tree / "id_notes", 0o644, "words")
    put(tree / "own.key", 0o600, KEY)
    os.mkfifo(tree / "pipe.key", 0o644)
    assert names(walked(tree), "private_keys") == []


@needs_root
def test_a_tree_of_nobody_is_told_once(tree: Path) -> None:
    for path in (put(tree / "left/a/b"), tree / "left/a", tree / "left"):
        os.chown(path, 54321, 54321)
    os.chown(put(tree / "left/c"), 0, 54321)
    (tree / "link").symlink_to("x")
    os.lchown(tree / "link", 54321, 0)
    assert names(walked(tree), "unowned") == ["left", "left/c", "link"]


def test_strange_names_are_plain_text(tree: Path) -> None:
    raw = os.fsencode(tree) + b"/new\nline \xff\x1b[31m"
    with os.fdopen(os.open(raw, os.O_CREAT | os.O_WRONLY), "w") as file:
        os.fchmod(file.fileno(), 0o666)
    (path,) = (entry["path"] for entry in walked(tree).found["world_writable"].told())
    assert path.endswith("/tree/new\\x0aline \\xff\\x1b[31m")
    assert path.isprintable()
    json.dumps(path).encode()


def test_excluded_directories_and_other_file_systems_are_not_entered(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in", "out", "far", "bound", "local"):
        put(tree / name / "open", 0o666)
    kinds = {
        str(tree / "far"): ("nfs4", "/"),
        str(tree / "bound"): ("ext4", "/elsewhere"),
        str(tree / "local"): ("ext4", "/"),
    }

    def mounts(self: Any, roots: list[str]) -> None:
        self.roots, self.kinds = set(roots), kinds

    monkeypatch.setattr(files_host.Mounts, "__init__", mounts)
    walk = walked(tree, tree / "out")
    assert sorted(names(walk, "world_writable")) == ["in/open", "local/open"]
    assert sorted(entry["why"] for entry in walk.skipped) == ["bind", "nfs4"]


def test_mounts_are_read_with_blanks_in_their_names() -> None:
    assert files_host.unescaped(r"/mnt/a\040b\134c") == "/mnt/a b\\c"
    assert "/proc" in files_host.Mounts([]).kinds


def test_what_is_too_much_or_takes_too_long_is_said_to_be_cut(tree: Path) -> None:
    for number in range(1100):
        put(tree / f"{number:04}", 0o666)
    assert walked(tree, seconds=-1).cut == "the time was up"
    few = walked(tree, most=5)
    assert (len(few.found["world_writable"].told()), few.found["world_writable"].left_out) == (5, 1095)


def test_the_worst_are_kept_however_many_there_are(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write somewhere can make as many files as he wants, and must not hide one of root's by them."""
    monkeypatch.setattr(files_host, "ROOTS", re.compile(re.escape(f"{tree}/etc")))
    for number in range(1500):
        put(tree / f"zz/{number:04}", 0o666)
        put(tree / f"aa/{number:04}", 0o666)
    put(tree / "etc/job", 0o666)
    (tree / "aa").chmod(0o700)
    walk = walked(tree, most=3)
    assert names(walk, "world_writable") == ["etc/job", "zz/0000", "zz/0001"]
    assert walk.found["world_writable"].left_out == 2998
    gaps = missing(SecurityScanParams(checks=("permissions",)), {"files": {"walked": _walked(walk)}}, ())
    assert [gap.part for gap in gaps] == ["files.world_writable"]


def test_what_is_cut_is_at_the_next_scan_neither_new_nor_fixed(tree: Path) -> None:
    for number in range(30):
        put(tree / f"{number:04}", 0o666)
    first = _analysed(walked(tree, most=10))
    assert first.counted == {"new": 11, "standing": 0, "fixed": 0, "unverified": 0}  # and that it is cut
    for number in range(5):
        (tree / f"{number:04}").unlink()
    put(tree / "shell", 0o4777)
    second = _analysed(walked(tree, most=10), first)
    assert second.counted == {"new": 1, "standing": 11, "fixed": 0, "unverified": 5}
    assert {one.code for one in second.found if one.evidence["status"] == "new"} == {"suid_foreign"}
    third = _analysed(walked(tree, most=100), second)
    assert third.counted == {"new": 0, "standing": 27, "fixed": 6, "unverified": 0}  # with the gap


@dataclass(frozen=True)
class _Analysed:
    found: tuple[Finding, ...]
    counted: dict[str, Any]


def _analysed(walk: files_host.Walk, earlier: _Analysed | None = None) -> _Analysed:
    kinds = {kind: kept.told() for kind, kept in walk.found.items()}
    suid = [{**entry, "package": "", "chosen": False} for entry in kinds["suid"]]
    answer = {**kinds, "suid": suid, "capable": [], "authorized": [], "homes": [], "files": {}, "walked": _walked(walk),
              "accounts": {"sources": [], "unlisted": 0, "looked": []}}  # fmt: skip
    before = None if earlier is None else tuple(asdict(one) for one in earlier.found)
    seen = Seen(host="h", before={}, after={"files": answer}, metrics={}, earlier={}, thresholds={}, at=1.8e9,
                earlier_findings=before)  # fmt: skip
    analysis = OPERATION.analyse(OPERATION.params.model_validate({"checks": ["permissions"]}), seen)
    numbers = {one.name.removeprefix("findings_"): one.value for one in analysis.metrics}
    return _Analysed(analysis.findings, {state: numbers[state] for state in ("new", "standing", "fixed", "unverified")})


def _walked(walk: files_host.Walk) -> Any:
    left = {kind: kept.left_out for kind, kept in walk.found.items() if kept.left_out}
    return {"files": walk.files, "cut": walk.cut, "left_out": left, "unreadable": 0, "skipped": [], "root": True}


def test_long_names_do_not_make_an_answer_that_is_too_large() -> None:
    """A host's answer of more than 8 MB is none: whoever makes long names must not make the scan blind."""
    kept = files_host.Kept(2000)
    for number in range(5000):
        path = f"/tmp/{number:04}" + "\u1234" * 1000
        kept.add({"path": path, "mode": "0666", "owner": "ann", "group": "ann", "reached": True})
    told = kept.told()
    assert len(json.dumps(told)) < files_host.MOST_ANSWER + 1000
    assert (len(told) > 50, len(told) + kept.left_out, kept.told()) == (True, 5000, told)


def test_one_who_can_be_logged_in_to_is_not_hidden_by_sound_ones() -> None:
    kept = files_host.Kept(2)
    entry = {"mode": "0600", "owner": "ann", "group": "ann", "weak": [], "system": False, "why": "", "loose": False}
    for number in range(9):
        kept.add({**entry, "path": f"/home/{number}", "loose": number == 7})
    assert [one["path"] for one in kept.told()] == ["/home/0", "/home/7"]


def test_a_long_path_is_cut_and_two_are_told_apart(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    deep = "/".join(["\1" * 250] * 5)
    for name in ("one", "two"):
        put(Path(deep) / name, 0o666)
    paths = [entry["path"] for entry in walked(tree).found["world_writable"].told()]
    assert len(set(paths)) == 2
    assert max(map(len, paths)) < LONGEST


def test_a_directory_is_not_held_in_memory_while_it_is_looked_at(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3000):
        put(tree / f"{number:04}")
    seen = []
    scandir = os.scandir

    def counted(path: str) -> Iterator[os.DirEntry[str]]:
        with scandir(path) as entries:
            for entry in entries:
                seen.append(entry.name)
                yield entry

    monkeypatch.setattr(os, "scandir", counted)
    assert walked(tree, seconds=-1).cut == "the time was up"
    assert len(seen) < 1100


def test_who_is_in_no_list_but_can_be_asked_for_is_somebody(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with LDAP and SSSD, which list nobody unless they are told to."""
    monkeypatch.setattr(pwd, "getpwall", list)
    put(tree / "a")
    assert names(walked(tree), "unowned") == []


# -- packages -----------------------------------------------------------------------------------------------


@pytest.fixture
def dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    where = tmp_path / "dpkg"
    (where / "info").mkdir(parents=True)
    monkeypatch.setattr(files_host, "DPKG", str(where))
    return where


def _entries(*paths: str) -> list[dict[str, Any]]:
    return [{"path": path, "mode": "4755", "owner": "root", "group": "root", "setuid": True} for path in paths]


def test_merged_directories_diversions_and_overrides_are_no_foreign_files(dpkg: Path) -> None:
    (dpkg / "info/util-linux.list").write_text("/.\n/bin/su\n/usr/bin/newgrp\n")
    (dpkg / "info/libx:amd64.list").write_text("/usr/lib/x/helper\n/usr/sbin/moved\n")
    (dpkg / "diversions").write_text("/usr/sbin/moved\n/usr/sbin/moved.distrib\nother\n")
    (dpkg / "statoverride").write_text("root people 4750 /opt/a b\n")
    found = files_host.with_packages(
        _entries("/usr/bin/su", "/bin/newgrp", "/lib/x/helper", "/usr/sbin/moved.distrib", "/opt/a b", "/opt/odd")
    )
    assert [entry["package"] for entry in found] == ["util-linux", "util-linux", "libx", "libx", "", ""]
    assert [entry["chosen"] for entry in found] == [False, False, False, False, True, False]
    judged = [judge(rule, {"files": {"suid": found}}) for rule in FILES if rule.code == "suid_foreign"]
    assert [problem.subject for problem in judged[0].problems] == ["/opt/odd"]


def test_without_a_package_database_nobody_can_tell(dpkg: Path) -> None:
    found = files_host.with_packages(_entries("/usr/bin/su"))
    assert "no package database" in (why_unknown(found) or "")
    states = {rule.code: judge(rule, {"files": {"suid": found}}).state for rule in FILES if rule.part == "files.suid"}
    assert set(states.values()) == {State.UNKNOWN}


def test_keys_that_a_package_brings_are_no_secret(dpkg: Path) -> None:
    (dpkg / "info/tests.list").write_text("/usr/share/x/test.key\n")
    entries = _entries("/usr/share/x/test.key", "/srv/site.key")
    assert [entry["path"] for entry in files_host.without_packages(entries)] == ["/srv/site.key"]


WEAK = [
    ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5z ann", ""),
    ("ssh-dss AAAAB3NzaC1kc3MAAACB ann", "DSA"),
    ('from="10.0.0.1",command="x" ssh-dss AAAAB3 ann', "DSA"),
    ("ssh-rsa no-base64! ann", ""),
    ("ssh-rsa", ""),
]


@pytest.mark.parametrize(("line", "wanted"), WEAK)
def test_weak_keys_are_told_apart(line: str, wanted: str) -> None:
    assert files_host.weak(line) == wanted


@pytest.mark.parametrize(("bits", "wanted"), [(1024, "RSA of 1024 bits"), (2048, "")])
@pytest.mark.service
def test_the_length_of_an_rsa_key_is_read(tmp_path: Path, bits: int, wanted: str) -> None:
    made = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", str(bits), "-N", "", "-f", str(made)], check=True)
    assert files_host.weak(made.with_suffix(".pub").read_text().strip()) == wanted


def test_the_program_answers_as_a_text_of_its_own(tree: Path) -> None:
    put(tree / "open", 0o666)
    given = {"paths": [str(tree)], "exclude_paths": [], "most": 5, "seconds": 30, "sshd_config": "/nowhere",
             "files": ["/etc/passwd", "/nowhere"]}  # fmt: skip
    argv = [sys.executable, "-I", "-c", program("files_host"), json.dumps(given)]
    found = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    assert [entry["path"] for entry in found["world_writable"]] == [str(tree / "open")]
    assert (found["files"]["/etc/passwd"]["owner"], found["files"]["/nowhere"]) == ("root", None)
    assert unknown("x") != found["walked"]


# -- what a user can put where root reads -------------------------------------------------------------------


def _user(home: Path) -> Any:
    entry = pwd.getpwuid(os.getuid())
    return files_host.Account(entry.pw_name, entry.pw_uid, str(home), entry.pw_shell)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


ODD: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
    (os.mkfifo, "is no regular file"),
    (_sparse, "has more than"),
]


@pytest.mark.parametrize(("make", "why"), ODD, ids=["device", "pipe", "sparse"])
def test_keys_that_are_no_file_of_keys_are_not_known(tmp_path: Path, make: Callable[[Path], object], why: str) -> None:
    (tmp_path / ".ssh").mkdir()
    path = tmp_path / ".ssh/authorized_keys"
    make(path)
    entry = files_host.one_authorized(str(path), _user(tmp_path))
    assert (entry["keys"], why in entry["why"]) == (0, True)
    answers = {"files": {"authorized": [{**entry, "user": "ann"}]}}
    states = {rule.code: judge(rule, answers).state for rule in FILES if rule.part == "files.authorized"}
    assert states["authorized_keys_weak"] is states["authorized_keys_system"] is State.UNKNOWN
    gaps = missing(SecurityScanParams(checks=("permissions",)), answers, ())
    assert [gap.part for gap in gaps if why in gap.why] == ["files.authorized"]


def test_a_link_to_a_file_of_keys_is_followed(tmp_path: Path) -> None:
    put(tmp_path / "keys", text="# words\nssh-dss AAAAB3 ann\n")
    put(tmp_path / ".ssh/x")
    (tmp_path / ".ssh/authorized_keys").symlink_to("../keys")
    entry = files_host.one_authorized(str(tmp_path / ".ssh/authorized_keys"), _user(tmp_path))
    assert (entry["keys"], entry["weak"], entry["why"]) == (1, ["DSA"], "")


def test_a_key_that_became_a_link_meanwhile_is_not_opened(tree: Path) -> None:
    put(tree / "real", text=KEY)
    (tree / "site.key").symlink_to("real")
    assert not files_host.is_private_key(str(tree / "site.key"))
    assert files_host.is_private_key(str(tree / "real"))


@pytest.mark.parametrize("name", ["files_host", "settings_host", "advisories_host"])
def test_a_program_takes_little_memory_and_is_the_first_to_go(name: str) -> None:
    text = f"""
import resource, sys
from opsqueue.facts.on_host import {name} as host
sys.argv = ["x", "no json"]
try:
    host.main()
except ValueError:
    print(resource.getrlimit(resource.RLIMIT_AS)[0] <= 512 << 20, open("/proc/self/oom_score_adj").read().strip())
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1000"]

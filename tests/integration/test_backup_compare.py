"""The program that compares: whatever is otherwise in what came back is named; restic is not needed for that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from dbkit import ROOT
from treekit import make_tree

from opsqueue.facts.on_host import program, tree_host

as_root = pytest.mark.skipif(not ROOT, reason="needs root")


class Pair:
    """A tree, its manifest, and a copy of it that came back."""

    def __init__(self, directory: Path) -> None:
        self.source, self.back, self.place = directory / "source", directory / "back", directory / "run"
        self.source.mkdir()
        make_tree(self.source)
        if not ROOT:
            (self.source / "mode000").unlink()
        time.sleep(0.06)  # the kernel's clock ticks: what was made before the run began is not taken for changed
        self.run("begin", "--place", str(self.place))
        self.rules = {"paths": [str(self.source)], "exclude_paths": [], "exclude_names": [], "exclude_caches": True,
                      "one_file_system": True}  # fmt: skip
        assert self.run("manifest", "--place", str(self.place), "--rules", json.dumps(self.rules)) == 0
        self.copy = self.back / self.source.relative_to("/")
        self.copy.parent.mkdir(parents=True)
        subprocess.run(["cp", "-a", "--sparse=always", str(self.source), str(self.copy)], check=True)

    def run(self, *words: str) -> int:
        # As on a host: the text alone, by a Python that knows nothing of opsqueue.
        argv = [sys.executable, "-I", "-c", program("tree_host"), *words]
        self.done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
        return self.done.returncode

    def compare(self, *more: str) -> tuple[int, dict]:
        words = ("--manifest", str(self.place / "manifest.gz"), "--root", str(self.back), "--place", str(self.place))
        code = self.run("compare", *words, "--sparse", *more)
        assert code in {0, 4}, self.done.stderr
        return code, json.loads((self.place / "report.json").read_text())


@pytest.fixture
def pair():
    directory = Path(tempfile.mkdtemp(prefix="oqcmp"))
    try:
        yield Pair(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def kept(path: Path, change) -> None:
    """Change something and put the times back."""
    status = path.lstat()
    change()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def filled(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1), follow_symlinks=False)


def linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("x")


def other_device(path: Path) -> None:
    path.unlink()
    os.mknod(path, 0o20620, os.makedev(1, 5))


def swapped(copy: Path) -> None:
    """Two names of one file become two files with the same bytes."""
    other = copy / "hard1"
    other.unlink()
    subprocess.run(["cp", "-a", str(copy / "d/e/f/x"), str(other)], check=True)


CHANGES = {
    "content": ("-dash", "content", lambda c: kept(c / "-dash", lambda: (c / "-dash").write_bytes(b"NAME -dash"))),
    "size": ("-dash", "size", lambda c: kept(c / "-dash", lambda: (c / "-dash").write_bytes(b"n"))),
    "mode": ("plain", "mode", lambda c: (c / "plain").chmod(0o600)),
    "mode of a directory": ("none", "mode", lambda c: (c / "none").chmod(0o700)),
    "a nanosecond": ("hole", "modification time", lambda c: os.utime(c / "hole", ns=(1, 1_600_000_000_123456788))),
    "time of a link": ("dangling", "modification time", lambda c: touched(c / "dangling")),
    "time of a directory": ("none", "modification time", lambda c: os.utime(c / "none", ns=(1, 1))),
    "target": ("d/relative", "target of the link", lambda c: linked(c / "d/relative")),
    "attribute": ("plain", "extended attributes", lambda c: os.setxattr(c / "plain", "user.k", b"other")),
    "attribute gone": ("d", "extended attributes", lambda c: os.removexattr(c / "d", "user.dir")),
    "type": ("fifo", "type", lambda c: ((c / "fifo").unlink(), (c / "fifo").touch())),
    "gone": ("none", "entry", lambda c: (c / "none").rmdir()),
    "more": ("added", "entry", lambda c: (c / "added").touch()),
    "hard link": ("", "hard link", swapped),
    "holes": ("sparse", "holes", lambda c: kept(c / "sparse", lambda: filled(c / "sparse"))),
}  # fmt: skip
OF_ROOT = {
    "owner": ("plain", "owner", lambda c: os.chown(c / "plain", 7, -1)),
    "group of a link": ("dangling", "group", lambda c: os.chown(c / "dangling", -1, 7, follow_symlinks=False)),
    "access list": ("empty", "extended attributes", lambda c: os.removexattr(c / "empty", "system.posix_acl_access")),
    "device": ("char", "device number", lambda c: other_device(c / "char")),
    "setuid": ("setuid", "mode", lambda c: (c / "setuid").chmod(0o755)),
}  # fmt: skip


@as_root  # `cp -a` gives nobody else's files away, and a copy that is not one proves nothing
def test_a_copy_is_a_copy(pair):
    code, report = pair.compare()
    assert (code, report["different"], report["differences"]) == (0, 0, [])
    counted = (report["compared"], report["changed"], report["losses"])
    assert counted == (report["entries"] - 1, 0, {"sockets": 1, "holes": 0})
    assert report["entries"] == 1 + len(list(pair.source.rglob("*"))) > 25
    assert report["bytes"] == report["total"] > 64 << 20


@as_root
@pytest.mark.parametrize("what", [*CHANGES, *OF_ROOT])
def test_whatever_is_otherwise_is_named(pair, what):
    name, word, change = (CHANGES | OF_ROOT)[what]
    change(pair.copy)
    code, report = pair.compare()
    assert code == 4
    found = [(one["path"], one["what"]) for one in report["differences"]]
    assert any(word == two and (not name or path.endswith(name.split("empty")[-1] or name)) for path, two in found), (
        found
    )


def test_comparing_nothing_is_no_success(pair):
    code, report = pair.compare("--below", '["/nowhere"]')
    assert (code, report["compared"]) == (4, 0)


def test_what_changed_since_the_run_began_is_not_compared_and_told(pair):
    (pair.source / "plain").write_text("other")
    (pair.source / "new").touch()
    assert pair.run("manifest", "--place", str(pair.place), "--rules", json.dumps(pair.rules)) == 0
    _code, report = pair.compare()
    assert report["changed"] >= 2
    assert any(path.endswith("/new") for path in report["moved"])
    assert not [one for one in report["differences"] if one["path"].endswith(("/plain", "/new"))]


def test_a_path_that_vanished_is_no_manifest(pair):
    rules = {**pair.rules, "paths": [str(pair.source), str(pair.source.parent / "gone")]}
    assert pair.run("manifest", "--place", str(pair.place), "--rules", json.dumps(rules)) == 5
    assert "gone is not there any more" in pair.done.stderr


def test_a_pattern_fits_only_the_path_that_it_was_made_of():
    assert tree_host.escaped("/a/*?[x]\\b") == "/a/\\*\\?\\[x]\\\\b"


@pytest.mark.parametrize(
    ("paths", "left"),
    [(["/a", "/a/b"], ["/a"]), (["/ab", "/a"], ["/a", "/ab"]), (["/", "/a"], ["/"]), (["/a/", "/a"], ["/a"])],
)
def test_paths_in_other_paths_count_once(paths, left):
    assert tree_host.outermost(paths) == left

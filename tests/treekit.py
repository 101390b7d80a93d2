"""A tree with everything that a backup loses easily, and a comparer that knows nothing of opsqueue."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

ROOT = os.geteuid() == 0
DATA = {"plain", "secret", "hard1", "d/e/f/x"}


def make_tree(root: Path) -> Path:
    """Fill an empty directory: names, links, holes, devices, attributes, lists, capabilities, odd times."""
    (root / "d/e/f").mkdir(parents=True)
    (root / "plain").write_text("plain text that is found nowhere else")
    (root / "d/e/f/x").write_bytes(random.Random(1).randbytes(300_000))
    os.link(root / "d/e/f/x", root / "hard1")
    os.link(root / "plain", root / "hard2")
    (root / "d/relative").symlink_to("../plain")
    (root / "dangling").symlink_to("/nonexistent/dangling")
    with (root / "sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(random.Random(2).randbytes(4096))
    with (root / "hole").open("wb") as file:
        file.truncate(16 << 20)
    os.mkfifo(root / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as here:
        os.chdir(root)
        here.bind("socket")
        os.chdir("/")
    for name in (b"bad\xff\xfename", b"new\nline \"q\" 's' $v *", b"-dash", b"n" * 255, b"back\\slash[1]?"):
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_bytes(b"name " + name[:9])
    (root / "ü-nfc").write_text("1")
    (root / "ü-nfd").write_text("2")
    (root / "empty").touch()
    (root / "none").mkdir()
    (root / "mode000").write_text("nobody reads it")
    for name, value in (("user.k", b"\x00\xffv"), ("user.empty", b"")):
        os.setxattr(root / "plain", name, value)
    os.setxattr(root / "d", "user.dir", b"of a directory")
    if ROOT:
        _of_root(root)
    _times(root)
    (root / "mode000").chmod(0)
    return root


def _of_root(root: Path) -> None:
    os.mknod(root / "char", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    os.mknod(root / "block", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    for name, mode in (("setuid", 0o4755), ("sticky", 0o1777), ("setgid", 0o2775)):
        (root / name).mkdir() if name != "setuid" else (root / name).write_text("suid")
        os.chown(root / name, 1234, 2345)
        (root / name).chmod(mode)
    os.chown(root / "dangling", 1234, 2345, follow_symlinks=False)
    os.setxattr(root / "plain", "trusted.t", b"trusted")
    if shutil.which("setcap"):
        subprocess.run(["setcap", "cap_net_raw+ep", str(root / "setuid")], check=False, capture_output=True)
    # An access list as the kernel keeps it: version 2, u::rw-, u:1234:rw-, g::r--, m::rw-, o::r--.
    entries = [(1, 6, -1), (2, 6, 1234), (4, 4, -1), (16, 6, -1), (32, 4, -1)]
    raw = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + mode.to_bytes(2, "little") + (who & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, mode, who in entries
    )
    os.setxattr(root / "empty", "system.posix_acl_access", raw)
    os.setxattr(root / "setgid", "system.posix_acl_default", raw)


def _times(root: Path) -> None:
    odd = {"empty": -31535999_876000000, "hole": 1_600_000_000_123456789, "ü-nfc": 4_102_444_800_000000001}
    for name, at in odd.items():
        os.utime(root / name, ns=(at, at))
    os.utime(root / "dangling", ns=(10**18, 10**18 + 7), follow_symlinks=False)
    for here, _folders, _files in os.walk(root, topdown=False):
        os.utime(here, ns=(1_500_000_000_000000005, 1_500_000_000_000000005))


def seen(root: Path) -> dict[bytes, dict[str, Any]]:
    """Every entry by its path below `root`."""
    found: dict[bytes, dict[str, Any]] = {}
    start = os.fsencode(root)
    for here, folders, files in os.walk(start):
        for name in (b"", *folders, *files) if here == start else (*folders, *files):
            path = here + b"/" + name if name else here
            found[path[len(start) :]] = _entry(path)
    return found


def _entry(path: bytes) -> dict[str, Any]:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    told: dict[str, Any] = {"kind": kind, "mode": stat.S_IMODE(status.st_mode), "mtime": status.st_mtime_ns}
    told |= {"owner": (status.st_uid, status.st_gid), "inode": status.st_ino, "blocks": status.st_blocks}
    told["xattr"] = {
        name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
    }
    if kind == stat.S_IFREG:
        told["content"] = (status.st_size, hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest())
    elif kind == stat.S_IFLNK:
        told["target"] = os.readlink(path)  # noqa: PTH115 - bytes
    elif kind in {stat.S_IFCHR, stat.S_IFBLK}:
        told["device"] = status.st_rdev
    return told


def differences(source: Path, restored: Path, *, sparse: bool) -> list[str]:
    """What is not as it was; sockets, and holes unless `sparse`, are restic's declared losses."""
    one, two = seen(source), seen(restored)
    assert len(one) > 5, "a tree that holds nothing proves nothing"
    wrong = [f"extra {path!r}" for path in two.keys() - one.keys()]
    for path, told in one.items():
        if told["kind"] == stat.S_IFSOCK:
            continue
        if path not in two:
            wrong.append(f"missing {path!r}")
            continue
        keys = {"kind", "mtime", "owner", "xattr", "content", "target", "device", "mode"} & told.keys()
        keys -= {"mode"} if told["kind"] == stat.S_IFLNK else set()
        keys -= set() if ROOT else {"owner"}
        wrong += [f"{path!r} {key}: {told[key]} {two[path][key]}" for key in keys if told[key] != two[path].get(key)]
        if sparse and told["blocks"] + 4096 < two[path]["blocks"]:
            wrong.append(f"{path!r} blocks: {told['blocks']} {two[path]['blocks']}")
    return wrong + _links(one, two)


def _links(one: dict[bytes, dict[str, Any]], two: dict[bytes, dict[str, Any]]) -> list[str]:
    def groups(found: dict[bytes, dict[str, Any]]) -> set[frozenset[bytes]]:
        by: dict[int, set[bytes]] = {}
        for path, told in found.items():
            by.setdefault(told["inode"], set()).add(path)
        return {frozenset(paths) for paths in by.values() if len(paths) > 1}

    return [] if groups(one) == groups(two) else [f"links: {groups(one)} {groups(two)}"]

"""Sent to a host as text: walks its files for `security_scan`, and says what their modes and owners are.

It only reads, never follows a link, stays on local file systems, and ends at its time limit with what it has, marked
as cut. Of keys it says that they are there, never what is in them. It is longer than other modules because what runs
on a host has to be one text.
"""

from __future__ import annotations

import base64
import functools
import glob
import grp
import hashlib
import json
import os
import pwd
import resource
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, NamedTuple

LOCAL = frozenset(
    [
        "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "overlay", "tmpfs", "ramfs",
        "bcachefs", "nilfs2", "rootfs",
    ]
)  # fmt: skip
"""File systems that are walked; others (network, virtual, media) are named as skipped."""
DPKG = "/var/lib/dpkg"
MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
KEY_ENDS = (".pem", ".key", "_key", "_rsa", "_dsa", "_ecdsa", "_ed25519", ".ppk")
MARKS = (b"PRIVATE KEY-----", b"PuTTY-User-Key-File")
HEAD = 4096
LONGEST = 1024
"""Characters of a path that are told; a longer one is told apart by its hash."""
MOST_TEXT = 1 << 20
"""Bytes that are read of a file that a user can name."""
MOST_MEMORY = 512 << 20
"""Bytes of memory that this program may ask for."""
SHORT_RSA = 2048
DOTS = (".rhosts", ".shosts", ".netrc", ".forward", ".pgpass", ".my.cnf")
SYSTEM_MOST = 999
"""Highest uid of accounts that are nobody's."""
NOBODY = 65534
NO_LOGIN = ("nologin", "false", "sync", "halt", "shutdown", "")

Entry = dict[str, Any]


def plain(path: str) -> str:
    """A path as text that any record and any terminal can take."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    shown = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
    if len(shown) <= LONGEST:
        return shown
    mark = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return f"{shown[:LONGEST]}... (sha256 {mark})"


def named(look: Any, number: int) -> str:
    """The name of a uid or gid; the number where it has none."""
    try:
        return str(look(number)[0])
    except KeyError:
        return str(number)


def there_is(look: Any, number: int) -> bool:
    """Whether somebody has this uid or gid."""
    try:
        look(number)
    except KeyError:
        return False
    return True


def told(path: str, status: os.stat_result) -> Entry:
    """What is said of every file."""
    return {
        "path": plain(path),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "owner": named(pwd.getpwuid, status.st_uid),
        "group": named(grp.getgrgid, status.st_gid),
    }


class Mounts:
    """Which directories are mounts, and which of those are not entered."""

    def __init__(self, roots: list[str]) -> None:
        self.roots = set(roots)
        self.kinds: dict[str, tuple[str, str]] = {}
        with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                words = line.split()
                rest = words[words.index("-") + 1 :]
                self.kinds[unescaped(words[4])] = (rest[0], words[3])

    def why_not(self, path: str) -> str:
        """Why this directory is not entered; empty when it is."""
        if path in self.roots or path not in self.kinds:
            return ""
        kind, root = self.kinds[path]
        if kind not in LOCAL:
            return kind
        return "bind" if root != "/" and kind != "btrfs" else ""


def unescaped(word: str) -> str:
    """A path of /proc as it is: blanks and the like stand there as octal numbers."""
    parts = word.split("\\")
    return parts[0] + "".join(chr(int(one[:3], 8)) + one[3:] if one[:3].isdigit() else "\\" + one for one in parts[1:])


class Above(NamedTuple):
    """A directory, seen from what lies in it."""

    uid: int
    gid: int
    reached: bool
    """Whether everybody can come so far."""


class Walk:
    """All files below some directories, and what is odd about each."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.roots = [os.path.normpath(path) for path in given["paths"]]
        self.excluded = {os.path.normpath(path) for path in given["exclude_paths"]}
        self.most = int(given["most"])
        self.until = time.monotonic() + float(given["seconds"])
        self.mounts = Mounts(self.roots)
        # One by one, for what LDAP or SSSD know is in no list of all; each is asked for once.
        self.has_user = functools.lru_cache(maxsize=None)(functools.partial(there_is, pwd.getpwuid))
        self.has_group = functools.lru_cache(maxsize=None)(functools.partial(there_is, grp.getgrgid))
        self.found: dict[str, list[Entry]] = {
            name: [] for name in ("suid", "world_writable", "no_sticky", "unowned", "capable", "private_keys")
        }
        self.files = self.left_out = self.unreadable = 0
        self.cut = ""
        self.skipped: list[Entry] = []

    def run(self) -> Walk:
        """Walk everything."""
        for root in self.roots:
            with suppress(OSError):
                self.one(root, os.lstat(root), None)
            for path, status, above in self.below(root):
                self.one(path, status, above)
                if self.cut:
                    return self
        return self

    def below(self, root: str) -> Iterator[tuple[str, os.stat_result, Above]]:
        """Every entry under one directory, with what is to be known of the directory it lies in."""
        waiting = [(root, True)]
        while waiting:
            directory, reached = waiting.pop()
            inside: list[tuple[str, bool]] = []
            try:
                status = os.lstat(directory)
                above = Above(status.st_uid, status.st_gid, reached and bool(status.st_mode & stat.S_IXOTH))
                for path, one in looked_at(directory):
                    yield path, one, above
                    inside += [(path, above.reached)] if stat.S_ISDIR(one.st_mode) and self.enters(path) else []
            except OSError:
                self.unreadable += 1
            waiting += sorted(inside)

    def enters(self, path: str) -> bool:
        """Whether a directory is walked."""
        if path in self.excluded:
            return False
        why = self.mounts.why_not(path)
        if why:
            self.skipped.append({"path": plain(path), "why": why})
        return not why

    def one(self, path: str, status: os.stat_result, above: Above | None) -> None:
        """Look at one entry."""
        self.files += 1
        if self.files % 1000 == 0 and time.monotonic() > self.until:
            self.cut = "the time was up"
        mode = status.st_mode
        if not self.has_user(status.st_uid) or not self.has_group(status.st_gid):
            self.unowned(path, status, above)
        if stat.S_ISLNK(mode):
            return
        if stat.S_ISDIR(mode) and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            self.add("no_sticky", {**told(path, status), "reached": above is None or above.reached})
        if stat.S_ISREG(mode):
            self.regular(path, status, above is None or above.reached)

    def unowned(self, path: str, status: os.stat_result, above: Above | None) -> None:
        """A file of nobody; below a directory of the same nobody it is no news."""
        if above is None or (above.uid, above.gid) != (status.st_uid, status.st_gid):
            self.add("unowned", told(path, status))

    def regular(self, path: str, status: os.stat_result, reached: bool) -> None:
        """Look at one file; `reached`: everybody can come to it."""
        mode = status.st_mode
        if mode & stat.S_IWOTH:
            self.add("world_writable", {**told(path, status), "reached": reached})
        if mode & stat.S_ISUID or (mode & stat.S_ISGID and mode & stat.S_IXGRP):
            self.add("suid", {**told(path, status), "setuid": bool(mode & stat.S_ISUID)})
        if mode & 0o111:
            with suppress(OSError):
                os.getxattr(path, "security.capability", follow_symlinks=False)
                self.add("capable", told(path, status))
        name = os.path.basename(path)
        of_ssh = name.startswith(("id_", "ssh_host_"))
        # A key of TLS may be for a group, such as ssl-cert; one of SSH is for nobody else.
        open_to = bool(mode & 0o004 and reached) or bool(of_ssh and mode & 0o044)
        if open_to and (of_ssh or name.endswith(KEY_ENDS)) and is_private_key(path):
            self.add("private_keys", told(path, status))

    def add(self, kind: str, entry: Entry) -> None:
        """Keep it, as far as there is room."""
        if len(self.found[kind]) < self.most:
            self.found[kind].append(entry)
        else:
            self.left_out += 1


def looked_at(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """What each entry of a directory is; one that went away meanwhile is left out."""
    with closing(os.scandir(directory)) as entries:
        for entry in entries:
            with suppress(OSError):
                yield entry.path, entry.stat(follow_symlinks=False)


def beginning(path: str, most: int, follow: int = 0) -> bytes:
    """How a regular file begins; nothing else is opened, for opening alone can reboot a host or wait for ever."""
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC | follow)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is no regular file")
        with open(f"/proc/self/fd/{handle}", "rb") as file:
            return file.read(most)
    finally:
        os.close(handle)


def text_of(path: str, most: int) -> str:
    """What is in a regular file; OSError when it is more than that."""
    found = beginning(path, most + 1)
    if len(found) > most:
        raise OSError(f"{path} has more than {most} bytes")
    return found.decode("utf-8", "replace")


def is_private_key(path: str) -> bool:
    """Whether a file begins like a private key; its content stays here."""
    try:
        head = beginning(path, HEAD, os.O_NOFOLLOW)
    except OSError:
        return False
    return any(mark in head for mark in MARKS)


# -- packages -----------------------------------------------------------------------------------------------


def aliases(path: str, diverted: dict[str, str]) -> set[str]:
    """The names that the package database may have for a path: /usr/bin/su is known as /bin/su."""
    names = {path, diverted.get(path, path)}
    short = {one[4:] for one in names for prefix in MERGED if one.startswith(f"/usr{prefix}/")}
    long = {f"/usr{one}" for one in names for prefix in MERGED if one.startswith(f"{prefix}/")}
    return names | short | long


def owners(paths: list[str]) -> dict[str, str] | None:
    """Which package each of them is of; None where there is no database of dpkg."""
    lists = glob.glob(f"{DPKG}/info/*.list")
    if not lists:
        return None
    diverted = diversions()
    wanted = {name: path for path in paths for name in aliases(path, diverted)}
    found: dict[str, str] = {}
    for file in lists if wanted else ():
        with suppress(OSError), open(file, encoding="utf-8", errors="surrogateescape") as lines:
            names = wanted.keys() & set(lines.read().splitlines())
            found.update({wanted[name]: os.path.basename(file)[:-5].partition(":")[0] for name in names})
    return found


def diversions() -> dict[str, str]:
    """Where files of packages were moved to, with the names by which the packages know them."""
    with suppress(OSError), open(f"{DPKG}/diversions", encoding="utf-8", errors="surrogateescape") as lines:
        words = lines.read().splitlines()
        return dict(zip(words[1::3], words[0::3]))  # noqa: B905 - Python 3.9
    return {}


def overridden() -> set[str]:
    """The paths whose mode somebody chose with dpkg-statoverride."""
    with suppress(OSError), open(f"{DPKG}/statoverride", encoding="utf-8", errors="surrogateescape") as lines:
        return {" ".join(line.rstrip("\n").split(" ")[3:]) for line in lines}
    return set()


def with_packages(entries: list[Entry]) -> list[Entry] | Entry:
    """With the package of each; unknown where nobody can tell."""
    known = owners([entry["path"] for entry in entries])
    if known is None:
        return {"unknown": "there is no package database of dpkg, so nobody can say which files belong to a package"}
    chosen = overridden()
    return [{**entry, "package": known.get(entry["path"], ""), "chosen": entry["path"] in chosen} for entry in entries]


def without_packages(entries: list[Entry]) -> list[Entry]:
    """Those that no package brought: a key that everybody has from the archive is no secret."""
    known = owners([entry["path"] for entry in entries]) or {}
    return [entry for entry in entries if entry["path"] not in known]


# -- accounts -----------------------------------------------------------------------------------------------


def authorized() -> list[Entry]:
    """The authorized_keys of every account: modes, owners, how many keys, which are weak."""
    found = []
    for user in pwd.getpwall():
        for name in ("authorized_keys", "authorized_keys2"):
            path = os.path.join(user.pw_dir or "/", ".ssh", name)
            with suppress(OSError):
                found.append({**one_authorized(path, user), "user": user.pw_name})
    return found


def one_authorized(path: str, user: Any) -> Entry:
    """One file of keys that may log in."""
    status = os.stat(path)
    above = [os.stat(one) for one in (os.path.dirname(path), user.pw_dir)]
    loose = [one for one in (status, *above) if one.st_mode & 0o022 or one.st_uid not in (0, user.pw_uid)]
    keys, why = keys_of(path)
    shell = os.path.basename(user.pw_shell)
    return {
        **told(path, status),
        "keys": len(keys),
        "loose": bool(loose),
        "weak": sorted({weakness for weakness in map(weak, keys) if weakness}),
        "system": (0 < user.pw_uid <= SYSTEM_MOST or user.pw_uid == NOBODY),
        "login": shell not in NO_LOGIN,
        "why": why,
    }


def keys_of(path: str) -> tuple[list[str], str]:
    """The keys of a file, and why they are not known: a user may put anything there, and link it to anything."""
    try:
        lines = [line.strip() for line in text_of(path, MOST_TEXT).splitlines()]
    except OSError as error:
        return [], plain(str(error))
    return [line for line in lines if line and not line.startswith("#")], ""


def weak(line: str) -> str:
    """What is weak about a public key; empty when nothing is."""
    words = line.split()
    if "ssh-dss" in words:
        return "DSA"
    if "ssh-rsa" not in words:
        return ""
    with suppress(ValueError, IndexError):
        blob = base64.b64decode(words[words.index("ssh-rsa") + 1])
        size, at = 0, 0
        for _ in range(3):  # the name, the exponent, the modulus
            size = int.from_bytes(blob[at : at + 4], "big")
            first, at = at + 4, at + 4 + size
        bits = int.from_bytes(blob[first:at], "big").bit_length()
        return f"RSA of {bits} bits" if 0 < bits < SHORT_RSA else ""
    return ""


def homes() -> list[Entry]:
    """The home directories of people: whose they are, and what lies in them that lets others in."""
    found = []
    for user in pwd.getpwall():
        people = user.pw_uid == 0 or SYSTEM_MOST < user.pw_uid < NOBODY
        if not people or os.path.basename(user.pw_shell) in NO_LOGIN:
            continue
        try:
            status = os.stat(user.pw_dir)
        except OSError:
            nothing = {"mode": "0000", "owner": "", "group": "", "own": False, "dots": []}
            found.append({**nothing, "user": user.pw_name, "path": plain(user.pw_dir), "there": False})
            continue
        found.append({
            **told(user.pw_dir, status),
            "user": user.pw_name,
            "there": True,
            "own": status.st_uid == user.pw_uid,
            "dots": [one for one in DOTS if dangerous(os.path.join(user.pw_dir, one))],
        })  # fmt: skip
    return found


def dangerous(path: str) -> bool:
    """Whether a dot file lets others in by being there, or by being readable."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    readable_is_bad = path.endswith((".netrc", ".pgpass", ".my.cnf"))
    return bool(mode & 0o077) if readable_is_bad else True


def wanted_files(patterns: list[str]) -> dict[str, Entry | None]:
    """How each named file stands; None where there is none."""
    found: dict[str, Entry | None] = {}
    for pattern in patterns:
        paths = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        for path in paths:
            try:
                found[plain(path)] = told(path, os.stat(path))
            except OSError:
                found[plain(path)] = None
    return found


def modest() -> None:
    """Take no more of the host's memory than this needs, and be the first to go when there is none left."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def main() -> None:
    """Print all of it as one line of JSON."""
    modest()
    given = json.loads(sys.argv[1])
    walk = Walk(given).run()
    answer: Entry = {
        **{kind: sorted(entries, key=lambda one: str(one["path"])) for kind, entries in walk.found.items()},
        "suid": with_packages(walk.found["suid"]),
        "capable": with_packages(walk.found["capable"]),
        "private_keys": without_packages(walk.found["private_keys"]),
        "authorized": authorized(),
        "homes": homes(),
        "files": wanted_files(given["files"]),
        "walked": {
            "files": walk.files,
            "cut": walk.cut,
            "left_out": walk.left_out,
            "unreadable": walk.unreadable,
            "skipped": walk.skipped[:100],
            "root": os.geteuid() == 0,
        },
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()

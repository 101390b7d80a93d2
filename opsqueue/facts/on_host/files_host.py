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
import re
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
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
MOST_ANSWER = 512 << 10
"""Bytes of what is told of one kind."""
SECONDS = 20
"""For sshd to say what its settings are."""
MOST_MEMORY = 512 << 20
"""Bytes of memory that this program may ask for."""
SHORT_RSA = 2048
DOTS = (".rhosts", ".shosts", ".netrc", ".forward", ".pgpass", ".my.cnf")
SYSTEM_MOST = 999
"""Highest uid of accounts that are nobody's."""
NOBODY = 65534
PASSWD = 7
"""Words in a line of /etc/passwd."""
NO_LOGIN = ("nologin", "false", "sync", "halt", "shutdown", "")

LISTED = frozenset(["files", "compat", "systemd"])
"""Sources of accounts that lie on the host itself; others are in no list, and can be asked for one by one only."""
HOMES = "/home"
OUTSIDE = "user=nobody,host=outside.invalid,addr=203.0.113.1,laddr=203.0.113.2,lport=22"
"""Somebody who comes from outside, as sshd is asked about."""
KEY_FILES = [".ssh/authorized_keys", ".ssh/authorized_keys2"]
"""What sshd looks at unless it is told otherwise."""
ROOTS = re.compile(r"/(etc|boot|root|usr|bin|sbin|lib\w*|var/spool/cron|opt)(/|$)")
"""What root runs or believes lies there."""

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


def rank(entry: Entry) -> tuple[bool, bool, bool, bool, str]:
    """The worst first: what everybody can come to, what root believes, what runs as root; then by name."""
    path = str(entry["path"])
    as_root = entry["owner"] == "root" and entry.get("setuid", True)
    return (sound(entry), not entry.get("reached", True), not ROOTS.match(path), not as_root, path)


def sound(entry: Entry) -> bool:
    """Whether there is nothing to tell of a home or of a file of keys; of other kinds only what is odd is kept."""
    if "loose" in entry:
        return not (entry["loose"] or entry["weak"] or entry["system"] or entry["why"])
    return bool(entry.get("own") and not entry["dots"] and not int(entry["mode"], 8) & 0o007)


class Kept:
    """The worst of many entries of one kind, however many there are, and how many were left out."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.entries: list[Entry] = []
        self.left_out = 0

    def add(self, entry: Entry) -> None:
        """Keep it, unless there are enough that are worse."""
        self.entries.append(entry)
        if len(self.entries) >= 2 * self.most + 1000:
            self.told()

    def told(self) -> list[Entry]:
        """Those that are told, sorted by what they are about."""
        worst, room = [], MOST_ANSWER
        for entry in sorted(self.entries, key=rank)[: self.most]:
            room -= len(json.dumps(entry))
            if room < 0:
                break
            worst.append(entry)
        self.left_out += len(self.entries) - len(worst)
        self.entries = worst
        return sorted(worst, key=lambda one: str(one["path"]))


class Walk:
    """All files below some directories, and what is odd about each."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.roots = [os.path.normpath(path) for path in given["paths"]]
        self.excluded = {os.path.normpath(path) for path in given["exclude_paths"]}
        self.until = time.monotonic() + float(given["seconds"])
        self.mounts = Mounts(self.roots)
        # One by one, for what LDAP or SSSD know is in no list of all; each is asked for once.
        self.has_user = functools.lru_cache(maxsize=None)(functools.partial(there_is, pwd.getpwuid))
        self.has_group = functools.lru_cache(maxsize=None)(functools.partial(there_is, grp.getgrgid))
        self.found = {
            name: Kept(int(given["most"]))
            for name in ("suid", "world_writable", "no_sticky", "unowned", "capable", "private_keys")
        }
        self.files = self.unreadable = 0
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
            self.found["no_sticky"].add({**told(path, status), "reached": above is None or above.reached})
        if stat.S_ISREG(mode):
            self.regular(path, status, above is None or above.reached)

    def unowned(self, path: str, status: os.stat_result, above: Above | None) -> None:
        """A file of nobody; below a directory of the same nobody it is no news."""
        if above is None or (above.uid, above.gid) != (status.st_uid, status.st_gid):
            self.found["unowned"].add(told(path, status))

    def regular(self, path: str, status: os.stat_result, reached: bool) -> None:
        """Look at one file; `reached`: everybody can come to it."""
        mode = status.st_mode
        if mode & stat.S_IWOTH:
            self.found["world_writable"].add({**told(path, status), "reached": reached})
        if mode & stat.S_ISUID or (mode & stat.S_ISGID and mode & stat.S_IXGRP):
            self.found["suid"].add({**told(path, status), "setuid": bool(mode & stat.S_ISUID)})
        if mode & 0o111:
            with suppress(OSError):
                os.getxattr(path, "security.capability", follow_symlinks=False)
                self.found["capable"].add(told(path, status))
        name = os.path.basename(path)
        of_ssh = name.startswith(("id_", "ssh_host_"))
        # A key of TLS may be for a group, such as ssl-cert; one of SSH is for nobody else.
        open_to = bool(mode & 0o004 and reached) or bool(of_ssh and mode & 0o044)
        if open_to and (of_ssh or name.endswith(KEY_ENDS)) and is_private_key(path):
            self.found["private_keys"].add(told(path, status))


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


class Account(NamedTuple):
    """Somebody who may have a home, and files of keys."""

    name: str
    uid: int
    home: str
    shell: str


class Accounts:
    """Everybody of the host's own lists, and of others those whose homes or keys lie on the host."""

    def __init__(self, sshd_config: str) -> None:
        self.sources = [one for one in sources() if one not in LISTED]
        """Where accounts are besides, such as sss or ldap; whom they know is in no list."""
        self.by_name = {one.name: one for one in own_accounts()}
        self.key_files = key_files(sshd_config)
        self.looked: set[str] = set()
        """Directories of which it is known who has a home there."""
        self.unlisted: list[str] = []
        """Names of those who were found by what is theirs."""
        self.seen = self._seen()

    def _seen(self) -> list[Account]:
        """Everybody; who is in no list is known by a home among the homes of others, or by a file of keys."""
        listed = {one.uid for one in self.by_name.values()}
        for directory in self._places():
            for uid, path in self._homes_in(directory):
                if uid not in listed:
                    self._add(pwd.getpwuid, uid, path)
        for pattern in filter(is_for_all, self.key_files):
            self.looked.add(os.path.dirname(pattern))
            for name in names_by(pattern):
                self._add(pwd.getpwnam, name, "")
        self.looked |= {one.home.rstrip("/") for one in self.by_name.values() if os.path.isdir(one.home)} - {""}
        return [self.by_name[name] for name in sorted(self.by_name)]

    def _places(self) -> list[str]:
        """Where homes lie; one of a domain may lie a directory deeper, as /home/example.org/ann does."""
        homes = {one.home.rstrip("/") for one in self.by_name.values()}
        deeper: set[str] = set()
        with suppress(OSError):
            deeper = {path for path, one in looked_at(HOMES) if stat.S_ISDIR(one.st_mode) and one.st_uid == 0}
        above = {os.path.dirname(one.home.rstrip("/")) for one in people(self.by_name.values())}
        return sorted(above | {HOMES} | deeper - homes)

    def _homes_in(self, directory: str) -> Iterator[tuple[int, str]]:
        """Who has which directory there; where they are mounted when somebody comes, it is not known who has none."""
        with suppress(OSError):
            for path, status in looked_at(directory):
                if stat.S_ISDIR(status.st_mode) and SYSTEM_MOST < status.st_uid < NOBODY:
                    yield status.st_uid, path
            if directory != "/" and Mounts([]).kinds.get(directory, ("", ""))[0] != "autofs":
                self.looked.add(directory)

    def _add(self, look: Any, who: Any, path: str) -> None:
        """One of those that are in no list, when this is really theirs."""
        with suppress(KeyError):
            user = look(who)
            if path in ("", user.pw_dir.rstrip("/")) and user.pw_name not in self.by_name:
                self.by_name[user.pw_name] = Account(user.pw_name, user.pw_uid, user.pw_dir, user.pw_shell)
                self.unlisted.append(user.pw_name)


def sources() -> list[str]:
    """Where the host has its accounts from, as /etc/nsswitch.conf says; files where it says nothing.

    A line of /etc/passwd that begins with a plus stands for those of NIS, where `compat` is asked.
    """
    found: list[str] = []
    with suppress(OSError), open("/etc/nsswitch.conf", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, rest = line.partition("#")[0].partition(":")
            if name.strip() in ("passwd", "passwd_compat"):
                found += re.sub(r"\[[^]]*\]", " ", rest).split()
    with suppress(OSError), open("/etc/passwd", encoding="utf-8", errors="replace") as lines:
        if "compat" in found and any(line.startswith("+") for line in lines):
            found.append("nis")
    return found or ["files"]


def own_accounts() -> Iterator[Account]:
    """The accounts of the host's own file; a list of all that LDAP knows can be long, and take long."""
    with suppress(OSError), open("/etc/passwd", encoding="utf-8", errors="surrogateescape") as lines:
        for words in (line.rstrip("\n").split(":") for line in lines):
            if len(words) == PASSWD and words[0][:1] not in "+-" and words[2].isdigit():
                yield Account(words[0], int(words[2]), words[5] or "/", words[6])


def people(accounts: Iterable[Account]) -> list[Account]:
    """Root, and those who are no service and may log in."""
    return [
        one
        for one in accounts
        if (one.uid == 0 or SYSTEM_MOST < one.uid < NOBODY) and os.path.basename(one.shell) not in NO_LOGIN
    ]


def key_files(sshd_config: str) -> list[str]:
    """Where sshd looks for keys that may log in, as it says itself."""
    program = next((one for one in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if os.path.exists(one)), "")
    with suppress(OSError, subprocess.TimeoutExpired):
        argv = [program, "-T", "-C", OUTSIDE, "-f", sshd_config]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
        for line in done.stdout.decode("utf-8", "surrogateescape").splitlines() if not done.returncode else ():
            name, _, rest = line.partition(" ")
            if name == "authorizedkeysfile":
                return [one for one in rest.split() if one != "none"]
    return KEY_FILES


def expanded(pattern: str, user: Account) -> str:
    """The file of keys of somebody: %h, %u, %U and %% as sshd has them, in the home when it is not absolute."""
    words = {"%%": "%", "%h": user.home, "%u": user.name, "%U": str(user.uid)}
    return os.path.join(user.home, re.sub("%[%huU]", lambda one: words[one.group()], pattern))


def is_for_all(pattern: str) -> bool:
    """Whether the files of keys of all lie together, each with a name for a name, such as /etc/ssh/keys/%u."""
    return pattern.startswith("/") and pattern.count("%") == 1 and "%u" in os.path.basename(pattern)


def names_by(pattern: str) -> Iterator[str]:
    """Whose files of keys lie there."""
    before, after = pattern.split("%u")
    for path in glob.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
        yield path[len(before) : len(path) - len(after)]


def authorized(accounts: Accounts, kept: Kept) -> list[Entry]:
    """The files of keys of every account: modes, owners, how many keys, which are weak."""
    for user in accounts.seen:
        for path in dict.fromkeys(expanded(pattern, user) for pattern in accounts.key_files):
            with suppress(OSError):
                kept.add({**one_authorized(path, user), "user": plain(user.name)})
    return kept.told()


def one_authorized(path: str, user: Account) -> Entry:
    """One file of keys that may log in."""
    status = os.stat(path)
    inside = path.startswith(user.home.rstrip("/") + "/")
    above = [os.stat(one) for one in (os.path.dirname(path), *([user.home] if inside else []))]
    loose = [one for one in (status, *above) if one.st_mode & 0o022 or one.st_uid not in (0, user.uid)]
    keys, why = keys_of(path)
    shell = os.path.basename(user.shell)
    return {
        **told(path, status),
        "keys": len(keys),
        "loose": bool(loose),
        "weak": sorted({weakness for weakness in map(weak, keys) if weakness}),
        "system": (0 < user.uid <= SYSTEM_MOST or user.uid == NOBODY),
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


def homes(accounts: Accounts, kept: Kept) -> list[Entry]:
    """The home directories of people: whose they are, and what lies in them that lets others in."""
    for user in people(accounts.seen):
        try:
            status = os.stat(user.home)
        except OSError:
            nothing = {"mode": "0000", "owner": "", "group": "", "own": False, "dots": []}
            kept.add({**nothing, "user": plain(user.name), "path": plain(user.home), "there": False})
            continue
        kept.add({
            **told(user.home, status),
            "user": plain(user.name),
            "there": True,
            "own": status.st_uid == user.uid,
            "dots": [one for one in DOTS if dangerous(os.path.join(user.home, one))],
        })  # fmt: skip
    return kept.told()


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
    accounts = Accounts(given["sshd_config"])
    kept = {**walk.found, **{kind: Kept(int(given["most"])) for kind in ("authorized", "homes")}}
    found = {kind: one.told() for kind, one in walk.found.items()}
    answer: Entry = {
        **found,
        "suid": with_packages(found["suid"]),
        "capable": with_packages(found["capable"]),
        "private_keys": without_packages(found["private_keys"]),
        "authorized": authorized(accounts, kept["authorized"]),
        "homes": homes(accounts, kept["homes"]),
        "accounts": {
            "sources": [plain(one) for one in accounts.sources[:20]],
            "unlisted": len(accounts.unlisted),
            "looked": sorted(plain(one) for one in accounts.looked)[: int(given["most"])],
        },
        "files": wanted_files(given["files"]),
        "walked": {
            "files": walk.files,
            "cut": walk.cut,
            "left_out": {kind: one.left_out for kind, one in kept.items() if one.left_out},
            "unreadable": walk.unreadable,
            "skipped": walk.skipped[:100],
            "root": os.geteuid() == 0,
        },
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()

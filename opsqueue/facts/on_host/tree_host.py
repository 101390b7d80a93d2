"""Sent to a host as text: writes down what files are, chooses samples of them, and compares what came back.

A manifest is one line of JSON for each entry. What was changed since the backup began (by the kernel's own ctime,
which nobody can set) is marked, as restic may have read either state of it. It is longer than other modules because
what runs on a host has to be one text.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

CACHE = b"Signature: 8a477f597d28d172789f06886806bc55"
DIFFERENT, GONE = 4, 5
SLACK_NS = 50_000_000
"""The clock of file systems runs up to a tick behind."""
COARSE = 16 << 20
"""Bytes: holes smaller than restic's largest piece cannot be kept."""
KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFSOCK: "s"}
KINDS.update({stat.S_IFCHR: "c", stat.S_IFBLK: "b"})
MOST_TOLD = 20

Entry = dict[str, Any]


class Rules:
    """What belongs to a backup: the same as restic is told."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.roots = outermost(given["paths"])
        self.paths = set(given["exclude_paths"])
        self.names = list(given["exclude_names"])
        self.caches = given["exclude_caches"]
        self.one = given["one_file_system"]
        self.unreadable: list[str] = []
        self.unreadable_count = 0
        self.endless: list[str] = []
        """Pipes that are called as the mark of a cache: restic would wait there for ever."""

    def walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every entry, a directory before what is in it, by name."""
        for root in self.roots:
            status = self._status(root)
            if status is not None:
                yield root, status
                if stat.S_ISDIR(status.st_mode):
                    yield from self._below(root, status.st_dev)

    def _below(self, root: str, device: int) -> Iterator[tuple[str, os.stat_result]]:
        waiting = [root]
        while waiting:
            here = waiting.pop()
            deeper = []
            for path in self._listed(here):
                status = self._status(path)
                if status is None:
                    continue
                yield path, status
                if stat.S_ISDIR(status.st_mode) and not (self.one and status.st_dev != device):
                    deeper.append(path)
            waiting += reversed(deeper)

    def _status(self, path: str) -> os.stat_result | None:
        try:
            return os.lstat(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.cannot(path, error)
            return None

    def _listed(self, here: str) -> list[str]:
        try:
            names = sorted(os.listdir(here))
        except FileNotFoundError:
            return []
        except OSError as error:
            self.cannot(here, error)
            return []
        if self.caches and "CACHEDIR.TAG" in names:
            names = self._without_cache(os.path.join(here, "CACHEDIR.TAG"), names)
        if os.path.join(here, "*") in self.paths:
            return []
        paths = [os.path.join(here, name) for name in names]
        return [path for path in paths if path not in self.paths and not self._named(os.path.basename(path))]

    def _without_cache(self, tag: str, names: list[str]) -> list[str]:
        if _is_pipe(tag):
            self.endless.append(_shown(tag))
        return ["CACHEDIR.TAG"] if _is_cache(tag) else names

    def _named(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.names)

    def cannot(self, path: str, error: OSError) -> None:
        """Somebody will be told."""
        self.unreadable_count += 1
        if len(self.unreadable) < MOST_TOLD:
            self.unreadable.append(f"{_shown(path)}: {error.strerror or error}")


def outermost(paths: list[str]) -> list[str]:
    """Without those that lie in others."""
    found: list[str] = []
    for path in sorted({os.path.normpath(one) for one in paths}):
        if not any(path.startswith(root.rstrip("/") + "/") for root in found):
            found.append(path)
    return found


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()


def _is_cache(path: str) -> bool:
    with suppress(OSError), open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
        return file.read(len(CACHE)) == CACHE
    return False


def _is_pipe(path: str) -> bool:
    with suppress(OSError):
        return stat.S_ISFIFO(os.stat(path).st_mode)
    return False


# -- writing down -----------------------------------------------------------------------------------------


def entry(path: str, status: os.stat_result) -> Entry:
    """One line: p path, t type, m mode, u g owner, s size, mt ct times in ns, i inode, n links, b blocks, and more."""
    kind = KINDS.get(stat.S_IFMT(status.st_mode), "?")
    told: Entry = {"p": path, "t": kind, "m": stat.S_IMODE(status.st_mode), "u": status.st_uid, "g": status.st_gid}
    told.update(mt=status.st_mtime_ns, ct=status.st_ctime_ns, i=[status.st_dev, status.st_ino], n=status.st_nlink)
    if kind == "f":
        told.update(s=status.st_size, b=status.st_blocks)
    elif kind == "l":
        told["l"] = os.readlink(path)
    elif kind in {"c", "b"}:
        told["r"] = status.st_rdev
    if found := attributes(path):
        told["x"] = found
    return told


def attributes(path: str) -> dict[str, str]:
    """Extended attributes, access lists and capabilities among them."""
    found = {}
    with suppress(OSError):
        for name in os.listxattr(path, follow_symlinks=False):
            with suppress(OSError):
                found[name] = os.getxattr(path, name, follow_symlinks=False).hex()
    return found


def digest(path: str) -> str:
    """SHA-256 of a file's bytes."""
    found = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def read(path: str) -> Iterator[Entry]:
    """The lines of a manifest."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        for line in file:
            yield json.loads(line)


def write_manifest(given: argparse.Namespace) -> int:
    """Everything as it is now, with what was changed since the backup began marked; sums of before are used again."""
    rules, began = Rules(json.loads(given.rules)), _began(given.place)
    known = _known(given.old)
    counts = {"entries": 0, "bytes": 0, "changed": 0, "hashed": 0}
    with gzip.open(os.path.join(given.place, "manifest.gz"), "wt", compresslevel=1, encoding="ascii") as out:
        for path, status in rules.walk():
            with suppress(FileNotFoundError):
                out.write(json.dumps(_line(path, status, began, known, rules, counts)) + "\n")
    _save(given.place, "rules.json", json.loads(given.rules))
    counts["unreadable"] = rules.unreadable_count
    sys.stdout.write(json.dumps(counts) + "\n")
    gone = [path for path in rules.roots if not os.path.lexists(path)]
    sys.stderr.write("".join(f"{_shown(path)} is not there any more\n" for path in gone))
    return GONE if gone else 0


def _line(path: str, status: os.stat_result, began: int, known: Any, rules: Rules, counts: dict[str, int]) -> Entry:
    told = entry(path, status)
    counts["entries"] += 1
    if told["t"] == "f":
        key = (told["ct"], told["s"], told["i"][1])
        old_key, old_sum = known.get(path, (None, None))
        told["h"] = old_sum if old_key == key else _sum(path, rules)
        counts["hashed"] += old_key != key
        counts["bytes"] += told["s"]
        told["ct"] = max(told["ct"], os.lstat(path).st_ctime_ns)
    if told["ct"] >= began - SLACK_NS or told.get("h", "") is None:
        told["c"] = 1
        counts["changed"] += 1
    return told


def _sum(path: str, rules: Rules) -> str | None:
    try:
        return digest(path)
    except OSError as error:
        rules.cannot(path, error)
        return None


def _known(old: str) -> dict[str, Any]:
    if not old or not os.path.exists(old):
        return {}
    lines = (one for one in read(old) if one.get("h") and "c" not in one)
    return {one["p"]: ((one["ct"], one["s"], one["i"][1]), one["h"]) for one in lines}


def begin(given: argparse.Namespace) -> int:
    """Make the place of a run and write down when it began."""
    os.mkdir(given.place, 0o700)
    _save(given.place, "began.json", {"ns": time.time_ns()})
    return 0


def _began(place: str) -> int:
    with open(os.path.join(place, "began.json"), encoding="ascii") as file:
        return int(json.load(file)["ns"])


def _save(place: str, name: str, value: Any) -> None:
    with open(os.path.join(place, name), "w", encoding="ascii") as file:
        json.dump(value, file)


# -- choosing ---------------------------------------------------------------------------------------------


def sample(given: argparse.Namespace) -> int:
    """Some entries of every type, others in each run, as patterns that restic includes; all names of a file at once."""
    best: dict[str, list[tuple[str, str, Any]]] = {}
    for one in read(given.manifest):
        if one["t"] in "s?" or "c" in one:
            continue
        rank = hashlib.sha256(f"{given.seed}:".encode() + os.fsencode(one["p"])).hexdigest()
        kept = best.setdefault(one["t"], [])
        kept.append((rank, one["p"], tuple(one["i"]) if one["n"] > 1 and one["t"] != "d" else None))
        kept.sort(key=lambda row: row[0])
        del kept[given.count if one["t"] == "f" else max(1, given.count // 10) :]
    chosen = {row[1] for rows in best.values() for row in rows}
    groups = {row[2] for rows in best.values() for row in rows if row[2]}
    if groups:
        chosen |= {one["p"] for one in read(given.manifest) if one["n"] > 1 and tuple(one["i"]) in groups}
    with open(os.path.join(given.place, "sample"), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("".join(f"{escaped(path)}\0" for path in sorted(chosen)))
    _save(given.place, "sample.json", sorted(chosen))
    sys.stdout.write(f"{len(chosen)} entries are restored\n")
    return 0 if chosen else 1


def escaped(path: str) -> str:
    """A path as a pattern that fits only itself."""
    return "".join(f"\\{one}" if one in "*?[\\" else one for one in path)


# -- comparing --------------------------------------------------------------------------------------------


class Comparison:
    """What of a manifest came back below `root`, and how."""

    def __init__(self, root: str, *, sparse: bool, owner: bool) -> None:
        self.root, self.sparse, self.owner = root.rstrip("/"), sparse, owner
        self.compared = self.bytes = self.files = self.changed = self.entries = self.total = self.different = 0
        self.differences: list[dict[str, Any]] = []
        self.losses = {"sockets": 0, "holes": 0}
        self.groups: dict[Any, Any] = {}
        self.inodes: dict[Any, Any] = {}
        self.moved: list[str] = []

    def take(self, wanted: Entry) -> None:
        """Compare one line with what is there."""
        if "c" in wanted:
            self.changed += 1
            if len(self.moved) < MOST_TOLD:
                self.moved.append(_shown(wanted["p"]))
            return
        if wanted["t"] == "s":
            self.losses["sockets"] += 1
            return
        path = self.root + wanted["p"]
        try:
            found = entry(path, os.lstat(path))
        except OSError as error:
            self.tell(wanted["p"], "entry", wanted["t"], error.strerror)
            return
        self._same(wanted, found, path)
        self._linked(wanted, found)

    def _same(self, wanted: Entry, found: Entry, path: str) -> None:
        self.compared += 1
        keys = ["t", "m", "mt", "s", "l", "r", "x", *(("u", "g") if self.owner else ())]
        if wanted["t"] == "l":
            keys.remove("m")
        for key in keys:
            if wanted.get(key) != found.get(key):
                self.tell(wanted["p"], NAMES[key], wanted.get(key), found.get(key))
        if wanted["t"] == found["t"] == "f":
            self.files += 1
            self.bytes += wanted["s"]
            if wanted["s"] == found["s"] and digest(path) != wanted["h"]:
                self.tell(wanted["p"], "content", wanted["h"], "another")
            if wanted["b"] * 512 + COARSE < wanted["s"] and found["b"] * 512 >= found["s"]:
                self._filled(wanted, found)

    def _filled(self, wanted: Entry, found: Entry) -> None:
        if self.sparse:
            self.tell(wanted["p"], "holes", wanted["b"], found["b"])
        else:
            self.losses["holes"] += 1

    def _linked(self, wanted: Entry, found: Entry) -> None:
        """Names of one file are names of one file again, and of no other."""
        if wanted["t"] == "d":
            return
        one, two = tuple(wanted["i"]), tuple(found["i"])
        if self.groups.setdefault(one, two) != two or self.inodes.setdefault(two, one) != one:
            self.tell(wanted["p"], "hard link", list(one), list(two))

    def tell(self, path: str, what: str, wanted: Any, found: Any) -> None:
        """One difference."""
        self.different += 1
        if len(self.differences) < MOST_TOLD:
            self.differences.append({"path": _shown(path), "what": what, "wanted": wanted, "found": found})


NAMES = {"t": "type", "m": "mode", "u": "owner", "g": "group", "mt": "modification time", "s": "size"}
NAMES.update({"l": "target of the link", "r": "device number", "x": "extended attributes"})


def compare(given: argparse.Namespace) -> int:
    """Compare a restored tree with its manifest; 4 when something differs, or when nothing was compared."""
    began = time.monotonic()
    done = Comparison(given.root, sparse=given.sparse, owner=os.geteuid() == 0)
    chosen = set(_loaded(given.sample)) if given.sample else None
    below: list[str] = json.loads(given.below)
    expected: set[str] = set()
    unsure: set[str] = set()
    for one in read(given.manifest):
        done.entries += 1
        done.total += one.get("s", 0)
        if below and not any(one["p"] == root or one["p"].startswith(root.rstrip("/") + "/") for root in below):
            continue
        expected.add(one["p"])
        if "c" in one:
            unsure.add(one["p"])
        if chosen is None or one["p"] in chosen:
            done.take(one)
    if chosen is None:
        _extra(done, below or _roots(given.manifest), expected, unsure)
    report = {key: getattr(done, key) for key in ("compared", "files", "bytes", "changed", "different", "differences")}
    report.update(entries=done.entries, total=done.total, losses=done.losses, moved=done.moved, level=given.level)
    report["seconds"] = round(time.monotonic() - began, 3)
    _save(given.place, "report.json", report)
    sys.stdout.write(json.dumps({key: report[key] for key in ("compared", "entries", "different", "changed")}) + "\n")
    for one in done.differences:
        sys.stderr.write(f"{one['path']}: {one['what']}: wanted {one['wanted']}, found {one['found']}\n")
    return DIFFERENT if done.different or not done.compared else 0


def _extra(done: Comparison, roots: list[str], expected: set[str], unsure: set[str]) -> None:
    """What came back and is in no manifest: an error, unless its directory was being changed."""
    above = {"/"} | {path[:at] for path in roots for at, sign in enumerate(path) if sign == "/" and at}
    for here, folders, files in os.walk(done.root):
        inside = here[len(done.root) :] or "/"
        for name in folders + files:
            path = os.path.join(inside, name)
            if path not in expected and path not in above and inside not in unsure:
                done.tell(path, "entry", "nothing", "something")


def _roots(manifest: str) -> list[str]:
    found: list[str] = _loaded(os.path.join(os.path.dirname(manifest), "rules.json"))["paths"]
    return found


def _loaded(path: str) -> Any:
    with open(path, encoding="ascii") as file:
        return json.load(file)


# -- looking ----------------------------------------------------------------------------------------------


def look(given: argparse.Namespace) -> int:
    """The sources and the room, before anything is done."""
    rules = Rules(json.loads(given.rules))
    told: dict[str, Any] = {"python": list(sys.version_info[:3]), "missing": [], "entries": 0, "bytes": 0, "fresh": 0}
    told["missing"] = [path for path in rules.roots if not os.path.lexists(path)]
    devices, since = set(), _last_began(given.state)
    for path, status in rules.walk() if given.walk else ():
        told["entries"] += 1
        devices.add(status.st_dev)
        if stat.S_ISREG(status.st_mode):
            told["bytes"] += status.st_size
            told["fresh"] += status.st_size if status.st_ctime_ns >= since else 0
            if not os.access(path, os.R_OK, follow_symlinks=False):
                rules.cannot(path, PermissionError(13, "Permission denied"))
    told.update(unreadable=rules.unreadable, unreadable_count=rules.unreadable_count)
    told["endless"] = rules.endless[:MOST_TOLD]
    told["rooms"] = {name: room(path, devices) for name, path in json.loads(given.rooms).items()}
    told["runs"] = runs(given.state)
    told["programs"] = {name: _sum_of(os.path.join(given.state, f"{name}.py")) for name in ("restic_host", "tree_host")}
    json.dump(told, sys.stdout)
    sys.stdout.write("\n")
    return 0


def _sum_of(path: str) -> str:
    try:
        return digest(path)
    except OSError:
        return ""


def _last_began(state: str) -> int:
    """When the newest whole run began; 0 when there was none."""
    names = [name for name in os.listdir(state) if name.isdigit()] if os.path.isdir(state) else []
    with suppress(OSError, ValueError, KeyError):
        return _began(os.path.join(state, max(names, default="none")))
    return 0


def room(path: str, devices: set[int]) -> dict[str, Any]:
    """How much fits in where `path` is, or will be."""
    there = path
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    space, status = os.statvfs(there), os.stat(there)
    writable = not space.f_flag & os.ST_RDONLY and os.access(there, os.W_OK)
    kind = "none" if not os.path.lexists(path) else "link" if os.path.islink(path) else "other"
    if kind == "other" and os.path.isdir(path):
        kind = "empty" if not os.listdir(path) else "full"
        kind = "mount" if os.path.ismount(path) else kind
    free, total = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    told = {"free": free, "total": total, "inodes": space.f_favail if space.f_files else -1, "is": kind}
    told["parent"] = os.path.isdir(os.path.dirname(path.rstrip("/")) or "/")
    told["open"] = changeable(path)
    return {**told, "writable": writable, "same_disk": status.st_dev in devices}


def changeable(path: str) -> str:
    """The first directory on the way to a name where others than root and ourselves could put another; empty: none.

    In one such as /tmp they cannot, where what lies on the way is there; the last name is made by who refuses one.
    """
    for start in (path, os.path.realpath(path)):
        at, below = start.rstrip("/") or "/", True
        while at != "/":
            at = os.path.dirname(at)
            if not os.path.isdir(at):
                below = False
            elif not _closed(os.stat(at), below):
                return at
            else:
                below = True
    return ""


def _closed(status: os.stat_result, below: bool) -> bool:
    others = status.st_mode & (0o002 if status.st_gid in {0, os.getegid()} else 0o022)
    held = not others or (bool(status.st_mode & stat.S_ISVTX) and below)
    return status.st_uid in {0, os.geteuid()} and held


def runs(state: str) -> dict[str, Any]:
    """The runs of which something is here, and what each left to read."""
    found: dict[str, Any] = {}
    names = sorted(os.listdir(state)) if os.path.isdir(state) else []
    for name in names:
        number, _, rest = name.partition(".")
        if not number.isdigit() and number not in {"verify", "restore"}:
            continue
        told = {"partial": rest == "partial", "manifest": os.path.exists(os.path.join(state, name, "manifest.gz"))}
        for kind in ("report", "backup", "check", "restored", "turn"):
            with suppress(OSError, ValueError):
                told[kind] = _loaded(os.path.join(state, name, f"{kind}.json"))
        found[name] = told
    return found


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("verb", choices=["look", "begin", "manifest", "sample", "compare"])
    for name in ("place", "rules", "old", "manifest", "root", "sample", "level", "state"):
        add(f"--{name}", default="")
    add("--below", default="[]")
    add("--rooms", default="{}")
    add("--seed", default="0")
    add("--count", type=int, default=50)
    for name in ("sparse", "walk"):
        add(f"--{name}", action="store_true")
    given = parser.parse_args()
    verbs = {"look": look, "begin": begin, "manifest": write_manifest, "sample": sample, "compare": compare}
    return verbs[given.verb](given)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())

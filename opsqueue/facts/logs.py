"""Log files of a host: the live ones, their rotated generations, who has them open, and the room that is left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsqueue.facts.log_scripts import JOURNAL, LOOK
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

_LOOK_S = 60
_LOGS_MOST = 10_000
_WRITES = frozenset("123567")
"""The last octal digit of a descriptor's flags when it may write."""
_APPEND = 0o2000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsWhere:
    """Where to look, as the parameters say it."""

    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    roots: tuple[str, ...] = ("/var/log",)
    archive_dir: str = ""
    pid_file: str = ""
    logrotate_config: str = ""
    trusted_groups: tuple[str, ...] = ()
    sudo: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """A process that has a file open."""

    pid: int
    name: str
    writes: bool
    appends: bool

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A rotated log, packed or plain."""

    path: str
    inode: str
    size: int
    links: int
    modified: int
    """UNIX seconds of the last line."""
    openers: tuple[Opener, ...]

    @property
    def moment(self) -> str:
        """When it was rotated, in UTC; sorts by time."""
        return self.path.rpartition("/")[2].rpartition("-")[2].partition(".")[0]

    @property
    def plain(self) -> bool:
        """Whether it is as the writer wrote it."""
        return self.path.endswith("Z")

    @property
    def writers(self) -> tuple[Opener, ...]:
        """Who may still write to it."""
        return tuple(one for one in self.openers if one.writes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A live log with all that belongs to it; `inode` is empty when the file is not there."""

    path: str
    inode: str
    size: int
    links: int
    owner: str
    group: str
    mode: str
    actor: str
    """Whom to be in its directory; begins with `!` and a reason where nobody is safe."""
    openers: tuple[Opener, ...]
    generations: tuple[Generation, ...]
    """The oldest first."""
    begun: tuple[str, ...]
    """What an interrupted command left."""
    room: Mapping[str, Any]

    @property
    def writers(self) -> tuple[Opener, ...]:
        """Who writes to it."""
        return tuple(one for one in self.openers if one.writes)

    @property
    def directory(self) -> str:
        """Where it lies."""
        return self.path.rpartition("/")[0]

    @property
    def free(self) -> int:
        """Bytes left on its file system."""
        return int(self.room["free"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """What was found on a host."""

    now: int
    moment: str
    user: str
    tools: frozenset[str]
    logs: tuple[Log, ...]
    left_out: tuple[tuple[str, str], ...]
    """Paths that are not rotated, and why: link, no_file, odd_name, absent, no_match."""
    archive: tuple[str, str, str] | None
    """What is there of the archive, where that really is, and whom to be there."""
    managed: frozenset[str]
    """What the host's own logrotate rotates."""
    reopens: tuple[int, str] | None
    """The process of the pid file."""
    deleted: tuple[Mapping[str, Any], ...]
    big: tuple[tuple[int, str], ...]
    by_path: Mapping[str, Log]
    """The first of each path."""

    def log(self, path: str) -> Log | None:
        """The log of this path."""
        return self.by_path.get(path)

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Logs:
        """The answer of the fact `logs` as an object."""
        # Once for each file, however many names it has.
        openers = {inode: tuple(Opener(**one) for one in those) for inode, those in answer["open"].items() if inode}
        logs = tuple(_log(one, answer, openers) for one in answer["logs"])
        return cls(
            now=answer["now"],
            moment=answer["moment"],
            user=answer["user"],
            tools=frozenset(answer["tools"]),
            logs=logs,
            by_path={one.path: one for one in reversed(logs)},
            left_out=tuple((path, why) for path, why in answer["left_out"]),
            archive=tuple(answer["archive"]) if answer["archive"] else None,
            managed=frozenset(answer["managed"]),
            reopens=tuple(answer["reopens"]) if answer["reopens"] else None,
            deleted=tuple(answer["deleted"]),
            big=tuple((size, path) for size, path in answer["big"]),
        )


def _log(one: Mapping[str, Any], answer: Mapping[str, Any], openers: Mapping[str, tuple[Opener, ...]]) -> Log:
    made = (Generation(**each, openers=openers.get(each["inode"], ())) for each in one["generations"])
    return Log(
        **{
            **one,
            "begun": tuple(one["begun"]),
            "openers": openers.get(one["inode"], ()),
            "generations": tuple(sorted(made, key=lambda each: (each.moment, each.path))),
            "room": answer["directories"].get(one["path"].rpartition("/")[0], _NO_ROOM),
        }
    )


_ByLog = dict[str, list[Sequence[str]]]
_NO_ROOM = {"type": "", "block": 0, "free": 0, "total": 0, "inodes_free": 0, "inodes": 0}


def logs(where: LogsWhere, *, wide: bool = True) -> Fact:
    """Fact `logs`; `wide` asks too what others rotate, what is deleted and still open, and which files are big."""
    lists = ("\n".join(where.paths), "\n".join(where.exclude), "\n".join(where.roots))
    rest = (where.archive_dir, where.pid_file, where.logrotate_config, " ".join(where.trusted_groups))
    ask = Script(text=LOOK, args=(*lists, *rest, "yes" if wide else ""), sudo=where.sudo, timeout=_LOOK_S)
    return Fact(name="logs", ask=ask, parse=_parse)


def _parse(result: Result) -> dict[str, Any]:
    lines = result.stdout.splitlines()
    if not lines or lines[-1] != "end":
        raise ValueError(f"no whole answer: {result.output[-300:]}")
    rows: dict[str, list[Sequence[str]]] = {}
    for line in lines[:-1]:
        words = line.split("\t")
        rows.setdefault(words[0], []).append(words[1:])
    ((moment, now, user),) = rows["now"]
    if len(rows.get("log", ())) > _LOGS_MOST:
        raise ValueError(f"more than {_LOGS_MOST} logs: name fewer of them")
    generations, begun = (_by_log(rows.get(name, ())) for name in ("generation", "begun"))
    return {
        "now": int(now),
        "moment": moment,
        "user": user,
        "tools": [row[0] for row in rows.get("tool", ())],
        "logs": [_live(row, generations, begun) for row in rows.get("log", ())],
        "directories": dict(_rooms(rows.get("directory", ()))),
        "left_out": [[row[0], row[1]] for row in rows.get("left_out", ())],
        "open": _open(rows.get("open", ())),
        "archive": next(([row[0], row[1], row[2]] for row in rows.get("archive", ())), None),
        "managed": sorted({row[0] for row in rows.get("managed", ())}),
        "reopens": next(([int(row[0]), row[1]] for row in rows.get("reopens", ())), None),
        "deleted": [_deleted(row) for row in rows.get("deleted", ())],
        "big": [[int(row[0]), row[1]] for row in rows.get("big", ())],
    }


def _by_log(rows: Sequence[Sequence[str]]) -> _ByLog:
    """What belongs to each log, by its path: each is found once, and belongs to one log."""
    found: _ByLog = {}
    for path, *rest in rows:
        found.setdefault(path, []).append(rest)
    return found


def _live(row: Sequence[str], generations: _ByLog, begun: _ByLog) -> dict[str, Any]:
    path, inode, size, links, owner, group, mode, actor = row
    return {
        "path": path,
        "inode": inode,
        "size": int(size),
        "links": int(links),
        "owner": owner,
        "group": group,
        "mode": mode,
        "actor": actor,
        "generations": [_made(one) for one in generations.pop(path, ()) if _dated(one[0])],
        "begun": [one[0] for one in begun.pop(path, ())],
    }


def _dated(path: str) -> bool:
    """Whether it was named by us: whoever may write there may call a file after the 31st of February."""
    try:
        time.strptime(path.rpartition("-")[2].partition(".")[0], "%Y%m%dT%H%M%SZ")
    except ValueError:
        return False
    return True


def _made(row: Sequence[str]) -> dict[str, Any]:
    path, inode, size, links, modified = row
    return {"path": path, "inode": inode, "size": int(size), "links": int(links), "modified": int(modified)}


def _rooms(rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, kind, *numbers in rows:
        block, free, total, inodes_free, inodes = map(int, numbers)
        room = {"type": kind, "block": block, "free": free * block, "total": total * block}
        yield name, {**room, "inodes_free": inodes_free, "inodes": inodes}


def _open(rows: Sequence[Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for inode, pid, name, flags in rows:
        if flags:  # else it ended meanwhile
            appends = bool(int(flags, 8) & _APPEND)
            one = {"pid": int(pid), "name": name, "writes": flags[-1] in _WRITES, "appends": appends}
            found.setdefault(inode, []).append(one)
    return found


def _deleted(row: Sequence[str]) -> dict[str, Any]:
    pid, name, size, _inode, path = row
    return {"pid": int(pid), "name": name.rstrip("?"), "size": int(size), "path": path.removesuffix(" (deleted)")}


def journal(directory: str, days: int, *, sudo: bool) -> Fact:
    """Fact `journal`: how much room journald's files take, and how many of them are older than `days`."""
    ask = Script(text=JOURNAL, args=(directory, str(days)), sudo=sudo, timeout=_LOOK_S)
    return Fact(name="journal", ask=ask, parse=_parse_journal)


def _parse_journal(result: Result) -> dict[str, Any]:
    rows = {row[0]: row[1:] for row in (line.split("\t") for line in result.stdout.splitlines())}
    if "absent" in rows:
        return {"problem": "there is no journalctl on this host"}
    if "problem" in rows:
        return {"problem": rows["problem"][0]}
    block, free, total = map(int, rows["room"]) if "room" in rows else (0, 0, 0)
    numbers = {key: int(rows[key][0]) for key in ("usage", "files", "archived", "old")}
    return {"problem": "", **numbers, "free": free * block, "total": total * block}

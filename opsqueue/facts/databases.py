"""Databases of a host: which server runs, what is in it, which backups there are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsqueue.facts.database_details import DETAILS
from opsqueue.facts.database_scripts import INSPECT, MAIN
from opsqueue.facts.database_settings import SETTINGS
from opsqueue.facts.database_tables import TABLES
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

_PARTIAL = ".partial"
_LOOK_S = 120
_SCRATCH = re.compile(r"opsqueue_scratch_\d+_\d+")
"""Only what was named by us is dropped by us: anybody may call a database of his own something with SQL in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseWhere:
    """Where to look, as far as it was said; empty, 0 and `auto`: find out."""

    engine: str = "auto"
    socket: str = ""
    """PostgreSQL: the directory of its socket; others: the socket."""
    port: int = 0
    path: str = ""
    """The file of SQLite."""
    user: str = ""
    run_as: str = ""
    sudo: bool = True
    databases: tuple[str, ...] = ()
    defaults_file: str = ""
    backup_dir: str = "/var/backups/opsqueue"
    recipients_file: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    wait: int = 0
    """Seconds to wait for a PostgreSQL that is about to come up again."""
    trust_owners: bool = False
    """Count rows even where that runs functions of roles that are no superusers with our rights."""
    task: tuple[str, ...] = ()
    """What a cleanup counts: table and predicate with double quotes, the same with backticks, seconds."""

    def args(self, detail: str) -> tuple[str, ...]:
        """The arguments of the script."""
        become = "yes" if self.sudo else ""
        first = (self.engine, self.socket, str(self.port), self.path, self.user, self.run_as, become, detail)
        where = (self.backup_dir, " ".join(self.databases), self.defaults_file, self.recipients_file)
        return (*first, *where, str(self.wait), "yes" if self.trust_owners else "", *self.task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database of a server: a file of SQLite, and the whole of a Redis, count as one."""

    name: str
    size: int
    """Bytes, as the server counts them."""
    objects: int
    """Tables, views and sequences; keys of a Redis."""
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The one database server (or file) that was found."""

    engine: str
    socket: str
    port: int
    label: str
    """Its directory below `backup_dir`."""
    props: Mapping[str, str]
    tools: Mapping[str, str]
    databases: tuple[Database, ...]
    names: tuple[str, ...] = ()
    """Every database that could be named, where they are plain."""
    scratch: tuple[str, ...]
    """Databases that a scratch restore left behind."""
    complete: tuple[int, ...]
    """Numbers of the backups that are there, the oldest first."""
    partial: tuple[int, ...]
    ages: Mapping[str, int]
    """Seconds since each backup was made, by its number."""
    bytes: Mapping[str, int]
    free: int
    """Bytes left where backups are kept."""
    recipients: bool
    """Whether the host has a file of recipients for age."""
    report: str = ""
    """Another after each integrity check; empty: there was none."""
    loose: str = ""
    """The directory by which others could lead us elsewhere than to `backup_dir`."""
    cleanups: int = 0
    """The number of the last cleanup; 0: there was none."""
    detail: tuple[tuple[str, ...], ...] = ()

    @property
    def owner(self) -> str:
        """Who its commands run as; empty: whoever asks."""
        return self.props.get("owner", "")

    @property
    def next_number(self) -> int:
        """The number of the next backup; the same again after what was begun of it was removed."""
        return max(self.complete, default=0) + 1

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Server | None:
        """The server of an answer of the fact `database`; None unless exactly one was found and could be asked."""
        one = answer.get("server")
        if not one:
            return None
        databases = tuple(Database(**{**each, "more": tuple(each["more"])}) for each in one["databases"])
        lists = {key: tuple(one.get(key, ())) for key in ("names", "scratch", "complete", "partial")}
        detail = tuple(tuple(line) for line in one["detail"])
        return cls(**{**one, **lists, "databases": databases, "detail": detail})


def database(where: DatabaseWhere, detail: str = "") -> Fact:
    """Fact `database`: what runs, and what is in it; `detail` asks more about its tables or indexes."""
    text = INSPECT + TABLES + SETTINGS + DETAILS + MAIN
    ask = Script(text=text, args=where.args(detail), sudo=where.sudo, secrets=where.secrets, timeout=_LOOK_S)
    return Fact(name="database", ask=ask, parse=_parse)


def _parse(result: Result) -> dict[str, Any]:
    parts = sections(result)
    found = [{"engine": row[0], "socket": _filled(row[1]), "port": int(row[2])} for row in parts["found"]]
    answer: dict[str, Any] = {"found": found, "problem": "", "server": None}
    if len(found) != 1:
        return answer
    rows = parts["server"]
    problems = [row[1] for row in rows if row[0] == "problem"]
    if problems:
        return answer | {"problem": problems[0]}
    server = {
        **found[0],
        "label": parts["place"][0][0],
        "props": {row[0]: row[1] if len(row) > 1 else "" for row in rows if row[0] != "tool"},
        "tools": {row[1]: row[2] if len(row) > 2 else "" for row in rows if row[0] == "tool"},  # noqa: PLR2004
        "databases": [one for one in map(_database, parts["databases"]) if one["objects"] or one["name"] != "postgres"],
        "names": [row[0] for row in parts.get("names", ())],
        "scratch": [row[0] for row in parts.get("scratch", ()) if _SCRATCH.fullmatch(row[0])],
        "detail": [list(row) for row in parts.get("detail", ())],
        **_stored(parts["store"]),
    }
    return answer | {"server": server}


def _filled(text: str) -> str:
    return "" if text == "-" else text


def _database(row: Sequence[str]) -> dict[str, Any]:
    if len(row) < 3 or not row[1].isdigit() or not row[2].isdigit():  # noqa: PLR2004
        raise ValueError(f"a database could not be looked into: {' '.join(row)[:300]}")
    return {"name": row[0], "size": int(row[1]), "objects": int(row[2]), "more": list(row[3:])}


def _stored(rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    whole = {row[0]: row for row in rows if row[0].isdigit()}
    begun = [row[0].removesuffix(_PARTIAL) for row in rows if row[0].endswith(_PARTIAL)]
    free = next((int(row[1]) for row in rows if row[0] == "free"), 0)
    return {
        "complete": sorted(int(name) for name in whole),
        "partial": sorted(int(name) for name in begun),
        "ages": {name: int(row[2]) for name, row in whole.items()},
        "bytes": {name: int(row[1] or 0) * 1024 for name, row in whole.items()},
        "free": free,
        "loose": next((row[1] for row in rows if row[0] == "loose"), ""),
        "report": next((row[1] for row in rows if row[0] == "report"), ""),
        "cleanups": next((int(row[1]) for row in rows if row[0] == "cleanup" and row[1].isdigit()), 0),
        "recipients": any(row[0] == "recipients" for row in rows),
    }


def sections(result: Result) -> dict[str, list[tuple[str, ...]]]:
    """The rows below each `@word`; ValueError when the last line is not `@end`."""
    lines = result.stdout.splitlines()
    if not lines or lines[-1] != "@end":
        raise ValueError(f"no whole answer: {result.output[-300:]}")
    return dict(_split(lines[:-1]))


def _split(lines: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    name, rows = "", list[tuple[str, ...]]()
    for line in lines:
        if line.startswith("@"):
            yield name, rows
            name, rows = line[1:], []
        else:
            rows.append(tuple(line.split("\t")))
    yield name, rows

"""Indexes that waste space, rebuilt while everybody goes on writing; nothing invalid is left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from opsqueue.facts.databases import Server
from opsqueue.model.fact import Fact, Facts
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.database.hand import Hand
from opsqueue.operations.database.index_advice import unused
from opsqueue.operations.database.index_room import about_room
from opsqueue.operations.database.predicate import quoted
from opsqueue.operations.database.statistics import one

DOUBLE, BACK = '"', "`"
"""How names are quoted: in PostgreSQL, and in MySQL and SQLite."""
_MB = 1 << 20
_LEFT_BY_REINDEX = re.compile(r"_cc(new|old)\d*$")
_NOTICES_A_LOST_CLIENT = 140_000
"""The version of PostgreSQL from which a server ends what nobody waits for any more."""
_MOST = 200
"""Rebuilds of one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index of PostgreSQL, or a table of MariaDB with its indexes. `life` is another after each rebuild."""

    database: str
    schema: str
    table: str
    name: str
    size: int
    valid: bool
    life: str
    waste: int
    """Percent, estimated; -1: it cannot be rebuilt while others write."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Its place in the server."""
        return (self.database, self.schema, self.name)

    def __str__(self) -> str:
        return ".".join(part for part in self.key if part)


def indexes(server: Server) -> dict[tuple[str, str, str], Index]:
    """All of them, by their place."""
    return {found.key: found for row in server.detail for found in _read(row)}


def _read(row: tuple[str, ...]) -> Iterator[Index]:
    kind, *rest = row
    if kind == "index":
        database, schema, table, name, size, state, life, waste = rest
    elif kind == "rebuild":
        database, table, size, life, waste = rest
        schema, name, state = "", table, "valid"
    else:
        return
    number = int(float(waste)) if waste not in {"", "NULL"} else 0
    yield Index(
        database=database,
        schema=schema,
        table=table,
        name=name,
        size=int(size),
        valid=state == "valid",
        life=life,
        waste=number,
    )


def chosen(hand: Hand) -> list[Index]:
    """What is worth a rebuild, the greatest waste first."""
    params, least = hand.params, hand.params.min_size_mb * _MB
    fit = [
        found
        for found in indexes(hand.server).values()
        if found.valid and found.size >= least and found.waste >= params.bloat_percent
    ]
    return sorted(fit, key=lambda found: (-found.waste * found.size, found.key))[:_MOST]


def invalid(server: Server | None) -> dict[tuple[str, str, str], Index]:
    """Those that serve no reader, by their place."""
    return {key: found for key, found in indexes(server).items() if not found.valid} if server else {}


def _ours(hand: Hand, now: Server | None) -> list[Index]:
    """What an interrupted rebuild left: invalid, called as such, of an index of the plan, and not there before."""
    planned, before = {(found.database, found.schema, found.table) for found in chosen(hand)}, indexes(hand.server)
    return [
        found
        for key, found in invalid(now).items()
        if key not in before
        and _LEFT_BY_REINDEX.search(found.name)
        and (found.database, found.schema, found.table) in planned
    ]


def after(_hand: Hand) -> Fact | None:
    """Nothing more is asked than before."""
    return None


def objections(hand: Hand) -> Iterator[str]:
    """Why nothing can be rebuilt."""
    server = hand.server
    if server.engine == "redis":
        yield "Redis has no indexes to optimize; choose backup, integrity_check, cleanup or tuning"
    if server.props.get("recovery") == "true":
        yield "this is a standby: it gets its indexes from its primary; rebuild there"
    if largest := max(chosen(hand), key=lambda found: found.size, default=None):
        yield from about_room(server, largest.size, f"to rebuild {largest}")
    if server.engine == "sqlite" and (check := _sqlite_check(server)) != "ok":
        yield f"{hand.params.path} is damaged, and a rebuild would build on that: {check}"


def _sqlite_check(server: Server) -> str:
    return next((row[1] for row in server.detail if row[0] == "check" and len(row) > 1), "no answer")


def plan(hand: Hand) -> Plan:
    """One rebuild after the other; nothing where nothing is wasted."""
    if hand.server.engine == "sqlite":
        if not one(hand.server, "indexes"):
            return Plan(note=f"{hand.params.path} has no index")
        argv = ("sqlite3", "-batch", "-bail", "-cmd", f".timeout {hand.params.lock_timeout_ms}", hand.params.path)
        return Plan(steps=(hand.step("rebuild all indexes", *argv, "reindex"),), note="in one transaction")
    steps = tuple(_rebuild(hand, found) for found in chosen(hand))
    params = hand.params
    what = f"no index of {params.min_size_mb} MB or more wastes {params.bloat_percent} % or more"
    return Plan(steps=steps, note=f"{len(steps)} of {len(indexes(hand.server))} are rebuilt" if steps else what)


def _rebuild(hand: Hand, found: Index) -> Step:
    title = f"rebuild {found}: about {found.waste} % of {found.size} bytes are wasted"
    if hand.server.engine == "postgresql":
        sql = f"reindex index concurrently {quoted(found.schema, DOUBLE)}.{quoted(found.name, DOUBLE)}"
        return concurrently(hand, title, found.database, sql)
    table = f"{quoted(found.database, BACK)}.{quoted(found.name, BACK)}"
    return altered(hand, title, f"alter table {table} force, algorithm=inplace, lock=none")


def concurrently(hand: Hand, title: str, database: str, sql: str) -> Step:
    """One statement of PostgreSQL that gives up where it had to wait too long, and says in its last line why."""
    options = f"-c lock_timeout={hand.params.lock_timeout_ms}"
    if int(hand.server.props.get("version", "0")) >= _NOTICES_A_LOST_CLIENT:
        options += " -c client_connection_check_interval=1000"
    env = {"PGOPTIONS": options, "PGAPPNAME": "opsqueue"}
    argv = ("psql", "-X", "-w", "-v", "ON_ERROR_STOP=1", "-v", "SHOW_CONTEXT=never", "-d", database, "-c", sql)
    return hand.step(title, *argv, env=env, login=True)


def altered(hand: Hand, title: str, sql: str) -> Step:
    """One statement of MySQL or MariaDB that gives up where it had to wait too long, and is not told to replicas."""
    seconds = max(1, hand.params.lock_timeout_ms // 1000)
    first = f"--init-command=set session lock_wait_timeout = {seconds}"
    if hand.server.props.get("log_bin") == "1":
        first += ", session sql_log_bin = 0"
    return hand.step(title, hand.server.props["client"], *hand.client, first, "-e", sql, login=True)


def verify(hand: Hand, _found: Facts, now: Server | None) -> Iterator[str]:
    """What was not rebuilt, and what was left invalid."""
    if now is None:
        yield "how the indexes stand is not known: the server could not be asked"
        return
    if hand.server.engine == "sqlite":
        if (check := _sqlite_check(now)) != "ok":
            yield f"{hand.params.path} is damaged after the rebuild: {check}"
        return
    there = indexes(now)
    for planned in chosen(hand):
        if planned.key not in there:
            yield f"{planned} is not there any more"
        elif not there[planned.key].valid:
            yield f"{planned} is not valid any more"
        elif there[planned.key].life == planned.life:
            yield f"{planned} was not rebuilt"
    yield from (f"an interrupted rebuild left the invalid index {found}" for found in _ours(hand, now))


def rollback(hand: Hand, _found: Facts, now: Server | None) -> Plan:
    """Drop what an interrupted rebuild left; the old index was used all the time."""
    steps = tuple(drop(hand, found) for found in _ours(hand, now))
    return Plan(steps=steps, note="each index is its old self or its new one, and valid; nothing has to be led back")


def drop(hand: Hand, found: Index, of: str = "an interrupted rebuild") -> Step:
    """Drop an index of PostgreSQL that was left invalid."""
    sql = f"drop index concurrently if exists {quoted(found.schema, DOUBLE)}.{quoted(found.name, DOUBLE)}"
    argv = ("psql", "-X", "-w", "-v", "ON_ERROR_STOP=1", "-d", found.database, "-c", sql)
    return hand.step(f"drop what {of} left: {found}", *argv, login=True)


def restored(hand: Hand, _found: Facts, now: Server | None) -> Iterator[str]:
    """What is invalid and was not so before."""
    if now is None:
        yield "how the indexes stand is not known: look for invalid ones (pg_index.indisvalid)"
        return
    yield from (
        f"{found} is invalid: drop it" for key, found in invalid(now).items() if key not in invalid(hand.server)
    )


def measure(hand: Hand, _found: Facts, now: Server | None) -> Iterator[Metric]:
    """How many were rebuilt, and what that gave back."""
    if hand.server.engine == "sqlite":
        return
    there = indexes(now) if now else {}
    pairs = [(planned, there[planned.key]) for planned in chosen(hand) if planned.key in there]
    done = [(old, new) for old, new in pairs if old.life != new.life]
    yield Metric(name="indexes_rebuilt", value=float(len(done)), unit="count")
    yield Metric(name="bytes_given_back", value=float(sum(old.size - new.size for old, new in done)), unit="bytes")


def findings(hand: Hand, _found: Facts, now: Server | None) -> Iterator[Finding]:
    """What nobody uses, and invalid indexes that somebody else left; they cost every write and serve no reader."""
    yield from unused(hand, now or hand.server)
    for found in invalid(now or hand.server).values():
        yield Finding(
            severity=Severity.WARNING,
            code="invalid_index",
            message=f"the index {found} is invalid: it costs every write and serves no reader",
            advice="Drop it (drop index concurrently), then build it anew if it was meant to be there.",
        )

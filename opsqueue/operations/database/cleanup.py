"""A cleanup: rows that a predicate names, deleted in bounded batches, counted before and after, archived where asked.

Every batch is a transaction of its own and has its line in a journal on the host. What was deleted does not come back
by itself: an interrupted cleanup says how many rows are gone for certain, and the next one goes on with the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.facts.database_cleanups import cleaned
from opsqueue.facts.databases import Server
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.database import cleanup_texts as texts
from opsqueue.operations.database.hand import Hand
from opsqueue.operations.database.predicate import parse, quoted

_KINDS = {"postgresql": {"r", "p"}, "mysql": {"InnoDB"}, "sqlite": {"table"}}
_WRITE = 'printf "%s\\n" "$2" >"$1"'


def place(hand: Hand) -> str:
    """The directory of this cleanup's journal and archive."""
    return f"{hand.base}/cleanup/{hand.server.cleanups + 1:06}"


def after(hand: Hand) -> Fact:
    """Asks what the journal says."""
    return cleaned(place(hand), sudo=hand.params.sudo)


def _rows(server: Server, kind: str) -> list[tuple[str, ...]]:
    return [row[1:] for row in server.detail if row[0] == kind and len(row) > 1]


def count(server: Server | None) -> int | None:
    """How many rows (or keys) match; None: not known."""
    found = _rows(server, "count") if server else []
    return int(found[0][0]) if found and found[0][0].isdigit() else None


def columns(server: Server) -> list[str]:
    """The columns that an archive keeps; what the server computes itself is left out."""
    return [row[0] for row in _rows(server, "column") if row[1] == "own"]


def key(server: Server) -> list[str]:
    """The columns of the primary key (MySQL), in its order."""
    found = [row for row in _rows(server, "column") if len(row) > 3 and row[3].isdigit()]  # noqa: PLR2004
    return [row[0] for row in sorted(found, key=lambda row: int(row[3]))]


# -- before -----------------------------------------------------------------------------------------------


def objections(hand: Hand) -> Iterator[str]:
    """Why nothing may be deleted."""
    server, params = hand.server, hand.params
    if (server.engine == "redis") != bool(params.key_pattern):
        wanted = "give key_pattern; it has no table" if server.engine == "redis" else "give table and predicate"
        yield f"this is {server.engine}: {wanted}"
        return
    if server.props.get("recovery") == "true" or server.props.get("read_only", "0") not in {"0", "OFF"}:
        yield "this is a standby: clean up its primary"
    if server.props.get("role", "master") != "master":
        yield "this is a replica: clean up its primary"
    if server.engine == "redis" and _rows(server, "cluster")[:1] == [("1",)]:
        yield "this is one server of a cluster of Redis; keys there are not cleaned up by this version"
    if server.engine in {"postgresql", "mysql"} and len(params.databases) != 1:
        names = ", ".join(one.name for one in server.databases)
        yield f"a cleanup is of one database: name it with databases; there are {names or 'none'}"
        return
    problems = tuple(_about_table(hand)) if server.engine != "redis" else ()
    yield from problems
    if not problems:
        yield from _about_count(hand)


def _about_table(hand: Hand) -> Iterator[str]:
    server, table = hand.server, hand.params.table
    kinds = _rows(server, "kind")
    kind = kinds[0][0] if kinds else "absent"
    if kind not in _KINDS[server.engine]:
        wanted = "an InnoDB table" if server.engine == "mysql" else "a table"
        yield f"{table} is no table that can be cleaned up: wanted {wanted}, found {kind}"
        return
    if server.engine == "sqlite" and kinds[0][1:] == ("without rowid",):
        yield f"{table} is without rowid: such tables are not cleaned up by this version"
    if server.engine == "mysql" and not key(server):
        yield f"{table} has no primary key, and so no order in which every replica deletes the same rows"
    there = [row[0] for row in _rows(server, "column")]
    if missing := [name for name in parse(hand.params.predicate).columns if name not in there]:
        yield f"{table} has no column {', '.join(missing)}; it has {', '.join(there)}"
    if not hand.params.allow_cascade and (hangs := sorted({row[0] for row in _rows(server, "cascade")})):
        told = f"rows of {', '.join(hangs)} would be deleted or changed too, uncounted"
        yield f"{told}; give allow_cascade, or clean up there first"


def _about_count(hand: Hand) -> Iterator[str]:
    found, most = count(hand.server), hand.params.max_rows
    if found is None:
        said = _rows(hand.server, "count_problem")
        yield f"the rows could not be counted, so none is deleted: {said[0][0] if said else 'no answer'}"
    elif found > most:
        yield f"{found} rows match, and max_rows is {most}; narrow the predicate, or allow more"


# -- the steps --------------------------------------------------------------------------------------------


def plan(hand: Hand) -> Plan:
    """The loop over the batches; nothing where no row matches."""
    found, what = count(hand.server), _what(hand)
    if not found:
        return Plan(note=f"no row matches: {what}")
    where = place(hand)
    steps = (
        *hand.directories(),
        hand.step("make the place of cleanups", "mkdir", "-p", "-m", "0700", "--", f"{hand.base}/cleanup"),
        hand.step("begin the journal", "mkdir", "-m", "0700", "--", where),
        hand.step("say what it is", "sh", "-c", _WRITE, "sh", f"{where}/manifest.json", _manifest(hand)),
        _deletes(hand),
        *_vacuum(hand),
    )
    kept = f"; they are kept in {where}" if hand.params.archive else ""
    triggers = ", ".join(row[0] for row in _rows(hand.server, "trigger"))
    told = f"; its triggers run: {triggers}" if triggers else ""
    return Plan(steps=steps, note=f"{found} rows match now and go for good: {what}{kept}{told}")


def _what(hand: Hand) -> str:
    params = hand.params
    return f"keys {params.key_pattern}" if params.key_pattern else f"{params.table} where {params.predicate}"


def _manifest(hand: Hand) -> str:
    params, server = hand.params, hand.server
    told = {"engine": server.engine, "what": _what(hand), "columns": columns(server), "archive": params.archive}
    return json.dumps({"made_by": "opsqueue database_maintenance", **told}, sort_keys=True)


def _deletes(hand: Hand) -> Step:
    params = hand.params
    text, argv, env = _LOOPS[hand.server.engine](hand)
    bounds = {
        "PLACE": place(hand),
        "MOST": str(params.max_rows),
        "BATCH": str(params.batch_size),
        "PAUSE": f"{params.pause_ms / 1000:.3f}",
        "LAG": str(params.max_replication_lag_seconds),
        "PATIENCE": str(params.timeout_seconds * 4 // 5),
        "ARCHIVE": "yes" if params.archive else "",
    }
    title = f"delete {count(hand.server)} rows in batches of {params.batch_size}: {_what(hand)}"
    return hand.step(title, "sh", "-c", text, "sh", *argv, env={**bounds, **env}, login=True)


_Loop = tuple[str, tuple[str, ...], Mapping[str, str]]


def _postgresql(hand: Hand) -> _Loop:
    names = [quoted(name, '"') for name in columns(hand.server)]
    sql = (texts.PG_ARCHIVE if hand.params.archive else texts.PG_PLAIN).format(
        lock=hand.params.lock_timeout_ms,
        table=hand.params.task[0],
        where=hand.params.task[1],
        columns=", ".join(names),
        of_t=", ".join(f"t.{name}" for name in names),
    )
    return texts.POSTGRESQL, (), {"SQL": sql, "PGDATABASE": hand.params.databases[0], "PGAPPNAME": "opsqueue"}


def _mysql(hand: Hand) -> _Loop:
    schema, params = quoted(hand.params.databases[0], "`"), hand.params
    table = f"{schema}.{params.task[2]}"
    sql = (texts.MYSQL_ARCHIVE if params.archive else texts.MYSQL_PLAIN).format(
        seconds=max(1, params.lock_timeout_ms // 1000),
        table=table,
        where=params.task[3],
        key=", ".join(quoted(name, "`") for name in key(hand.server)),
        line=_line(hand.server, params.task[2]),
    )
    argv = (hand.server.props["client"], *hand.client)
    return texts.MYSQL, argv, {"SQL": sql, "SUM": texts.MYSQL_SUM}


def _line(server: Server, table: str) -> str:
    """An expression that writes a row as the statement that brings it back."""
    own = [row for row in _rows(server, "column") if row[1] == "own"]
    values = []
    for name, _, sort, *_ in own:
        column = quoted(name, "`")
        values.append(
            f"coalesce(concat('x''', hex({column}), ''''), 'NULL')" if sort == "bytes" else f"quote({column})"
        )
    names = ", ".join(quoted(row[0], "`") for row in own)
    comma = ", ', ', "
    return f"concat('insert into {table} ({names}) values (', {comma.join(values)}, ');')"  # noqa: S608  # names are quoted


def _sqlite(hand: Hand) -> _Loop:
    names, params = [quoted(name, "`") for name in columns(hand.server)], hand.params
    sql = (texts.SQLITE_ARCHIVE if params.archive else texts.SQLITE_PLAIN).format(
        lock=params.lock_timeout_ms,
        table=params.task[2],
        name=params.schema_and_name[1],
        where=params.task[3],
        columns=", ".join(names),
        quoted=", ".join(f"quote({name}), hex({name})" for name in names),
    )
    return texts.SQLITE, (), {"SQL": sql, "FILE": params.path}


def _redis(hand: Hand) -> _Loop:
    replicas = _rows(hand.server, "standbys")
    argv = ("redis-cli", *hand.client, "-n", str(hand.params.redis_database))
    env = {"PATTERN": hand.params.key_pattern, "LUA": texts.LUA, "REPLICAS": replicas[0][0] if replicas else "0"}
    return texts.REDIS, argv, env


_LOOPS = {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite, "redis": _redis}


def _vacuum(hand: Hand) -> Iterator[Step]:
    """Give the room of the deleted rows to new ones; it waits for nobody, and the file may stay as large."""
    if hand.server.engine == "postgresql":
        sql = f"vacuum (analyze, skip_locked) {hand.params.task[0]}"
        argv = ("psql", "-X", "-w", "-q", "-v", "ON_ERROR_STOP=1", "-d", hand.params.databases[0], "-c", sql)
        yield hand.step("give the room to new rows", *argv, login=True)


# -- afterwards -------------------------------------------------------------------------------------------


def _journal(found: Facts) -> Mapping[str, Any] | None:
    answer = found.get("cleanup")
    return None if not answer or why_unknown(answer) is not None else answer


def verify(hand: Hand, found: Facts, now: Server | None) -> Iterator[str]:
    """Why not all of it is gone, and how much is."""
    told, left, before = _journal(found), count(now), count(hand.server) or 0
    if told is None:
        yield f"how many rows were deleted is not known: see {place(hand)}/journal on the host"
        return
    rest = "how many match now is not known" if left is None else f"{left} match now"
    if told["state"] == "absent":
        yield f"nothing was begun; {rest}"
    elif told["state"] != "ended":
        gone = f"{told['rows']} of {before} rows were deleted for certain, in {told['done']} batches"
        doubt = f", and one batch of at most {hand.params.batch_size} may be" if told["begun"] > told["done"] else ""
        why = f"stopped, because {told['why']}" if told["state"] == "stopped" else "was interrupted"
        yield f"the cleanup {why}: {gone}{doubt}; {rest}; ask again to go on"
    elif left is None:
        yield f"{told['rows']} rows were deleted, and what matches now could not be counted"
    elif left and told["rows"] < min(before, hand.params.max_rows):
        yield f"{told['rows']} of {before} rows were deleted, and {left} match still: somebody changed or kept them"


def rollback(hand: Hand, found: Facts, _now: Server | None) -> Plan:
    """Whole batches are gone; only a person brings them back."""
    told = _journal(found)
    if told and told["archives"]:
        return Plan(note=f"what was deleted does not come back by itself; its rows are kept in {place(hand)}")
    return Plan(note="what was deleted does not come back; batches that were not committed were not deleted")


def restored(_hand: Hand, _found: Facts, _now: Server | None) -> Iterator[str]:
    """Nothing is led back."""
    return iter(())


def measure(hand: Hand, found: Facts, now: Server | None) -> Iterator[Metric]:
    """Rows before and after, what was deleted, and what was kept of it."""
    told, before, left = _journal(found), count(hand.server), count(now)
    yield Metric(name="rows_matching_before", value=None if before is None else float(before), unit="count")
    yield Metric(name="rows_matching", value=None if left is None else float(left), unit="count")
    if told and told["state"] != "absent":
        yield Metric(name="rows_deleted", value=float(told["rows"]), unit="count")
        yield Metric(name="batches", value=float(told["done"]), unit="count")
        if hand.params.archive:
            yield Metric(name="archived_bytes", value=float(told["archived_bytes"]), unit="bytes")


def findings(hand: Hand, found: Facts, now: Server | None) -> Iterator[Finding]:
    """Rows that came meanwhile, and replicas whose delay cannot be seen from here."""
    told, left = _journal(found), count(now)
    if told and told["state"] == "ended" and left:
        text = f"{left} rows match again: {_what(hand)}; they came meanwhile, or max_rows was reached"
        yield Finding(severity=Severity.INFO, code="rows_left", message=text, advice="Ask again when it is quieter.")
    standbys = _rows(hand.server, "standbys")
    if hand.server.engine == "mysql" and count(hand.server) and standbys and standbys[0][0] not in {"", "0"}:
        text = f"{standbys[0][0]} replicas follow this server, and it does not know how far they are"
        advice = "Give a longer pause_ms, and watch seconds_behind_master on the replicas."
        yield Finding(severity=Severity.INFO, code="replicas_not_watched", message=text, advice=advice)

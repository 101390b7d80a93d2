"""An index that is built while everybody goes on writing; one that could not be finished does not stay.

Its name is chosen beforehand, and nothing is built where that name is there: so what is found invalid under it
afterwards is what this run left, and can be dropped. MySQL and SQLite build the whole of it, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.databases import Server
from opsqueue.model.fact import Fact, Facts
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.database.hand import Hand
from opsqueue.operations.database.index_room import about_room
from opsqueue.operations.database.indexes import BACK, DOUBLE, Index, altered, concurrently, drop, indexes
from opsqueue.operations.database.predicate import quoted

_KINDS = {"postgresql": {"r", "m"}, "mysql": {"InnoDB"}, "sqlite": {"table"}}
_LONGEST = 63


def after(_hand: Hand) -> Fact | None:
    """Nothing more is asked than before."""
    return None


def name(hand: Hand) -> str:
    """How it is called."""
    params = hand.params
    made = "_".join((params.schema_and_name[1], *params.index_columns, "key" if params.index_unique else "idx"))
    return params.index_name or made.encode()[:_LONGEST].decode(errors="ignore")


def _rows(server: Server, kind: str) -> list[tuple[str, ...]]:
    return [row[1:] for row in server.detail if row[0] == kind and len(row) > 1]


def _named(server: Server) -> dict[str, tuple[str, ...]]:
    """What is known of each index of the table: unique or plain, valid or not, simple or special, its columns."""
    return {row[0]: row[1:] for row in _rows(server, "named")}


def _serves(hand: Hand, known: tuple[str, ...]) -> bool:
    """Whether an index does what is wanted of the new one."""
    unique, valid, simple, columns = known
    fits = unique == "unique" or not hand.params.index_unique
    return fits and (valid, simple) == ("valid", "simple") and columns == ",".join(hand.params.index_columns)


# -- before -----------------------------------------------------------------------------------------------


def objections(hand: Hand) -> Iterator[str]:
    """Why nothing can be built."""
    server, params = hand.server, hand.params
    if server.engine == "redis":
        yield "Redis has no tables and no indexes"
        return
    if server.props.get("recovery") == "true" or server.props.get("read_only", "0") not in {"0", "OFF"}:
        yield "this is a standby: it gets its indexes from its primary; build there"
    if server.engine != "sqlite" and len(params.databases) != 1:
        names = ", ".join(one.name for one in server.databases)
        yield f"an index is built in one database: name it with databases; there are {names or 'none'}"
        return
    kind = next((row[0] for row in _rows(server, "kind")), "absent")
    if kind not in _KINDS[server.engine]:
        wanted = "an InnoDB table" if server.engine == "mysql" else "a table that is not partitioned"
        yield f"{params.table} can get no index without locking it: wanted {wanted}, found {kind}"
        return
    there = [row[0] for row in _rows(server, "column")]
    if missing := [one for one in params.index_columns if one not in there]:
        yield f"{params.table} has no column {', '.join(missing)}; it has {', '.join(there)}"
    yield from _about_name(hand)
    size = next((row[0] for row in _rows(server, "size")), "")
    if size.isdigit():
        yield from about_room(server, int(size), f"an index of {params.table}")


def _about_name(hand: Hand) -> Iterator[str]:
    wanted, known = name(hand), _named(hand.server).get(name(hand))
    if known is None:
        if _place(hand) in indexes(hand.server):
            yield f"another table has an index {wanted} already; give another index_name"
    elif known[1] != "valid":
        yield f"the index {wanted} is there and invalid; drop it (drop index concurrently {wanted}), and ask again"
    elif not _serves(hand, known):
        told = f"{known[0]}, {known[2]}, on {known[3]}"
        yield f"there is another index {wanted} already ({told}); give another index_name"


def _place(hand: Hand) -> tuple[str, str, str]:
    databases, schema = hand.params.databases, hand.params.schema_and_name[0]
    return (databases[0] if databases else "", schema, name(hand))


def plan(hand: Hand) -> Plan:
    """One statement; nothing where an index does already what is wanted."""
    params = hand.params
    on = f"{params.table} ({', '.join(params.index_columns)})"
    if there := [one for one, known in _named(hand.server).items() if _serves(hand, known)]:
        return Plan(note=f"{on} has the index {there[0]} already")
    return Plan(steps=(_build(hand, f"build the index {name(hand)} on {on}"),), note=f"{hand.server.engine}: {on}")


def _build(hand: Hand, title: str) -> Step:
    params, unique = hand.params, "unique " if hand.params.index_unique else ""
    schema, table = params.schema_and_name
    mark = DOUBLE if hand.server.engine == "postgresql" else BACK
    index, columns = quoted(name(hand), mark), ", ".join(quoted(one, mark) for one in params.index_columns)
    if hand.server.engine == "postgresql":
        on = f"{quoted(schema, mark)}.{quoted(table, mark)}"
        sql = f"create {unique}index concurrently {index} on {on} ({columns})"
        return concurrently(hand, title, params.databases[0], sql)
    if hand.server.engine == "mysql":
        where = f"{quoted(params.databases[0], mark)}.{quoted(table, mark)}"
        sql = f"alter table {where} add {unique}index {index} ({columns}), algorithm=inplace, lock=none"
        return altered(hand, title, sql)
    sql = f"create {unique}index {index} on {quoted(table, mark)} ({columns})"
    wait = f".timeout {params.lock_timeout_ms}"
    return hand.step(title, "sqlite3", "-batch", "-bail", "-cmd", wait, params.path, sql)


# -- afterwards -------------------------------------------------------------------------------------------


def verify(hand: Hand, _found: Facts, now: Server | None) -> Iterator[str]:
    """Why there is no such index."""
    if now is None:
        yield f"whether the index {name(hand)} was built is not known: the server could not be asked"
        return
    known = _named(now).get(name(hand))
    if known is None:
        yield f"the index {name(hand)} was not built"
    elif not _serves(hand, known):
        yield f"the index {name(hand)} is {known[1]}, {known[0]}, on {known[3]}"


def _left(hand: Hand, now: Server | None) -> list[Index]:
    """What an interrupted build left under the name that was free before."""
    there = indexes(now) if now else {}
    place, table = _place(hand), hand.params.schema_and_name[1]
    found = there.get(place)
    return [found] if found and not found.valid and found.table == table and place not in indexes(hand.server) else []


def rollback(hand: Hand, _found: Facts, now: Server | None) -> Plan:
    """Drop what is invalid; the rows were never touched."""
    steps = tuple(drop(hand, found, "the build that failed") for found in _left(hand, now))
    return Plan(steps=steps, note="back to the indexes that were there" if steps else "nothing of the index is there")


def restored(hand: Hand, _found: Facts, now: Server | None) -> Iterator[str]:
    """What of it is still there."""
    if now is None:
        yield f"whether the index {name(hand)} is there is not known; if it is invalid (pg_index.indisvalid), drop it"
    yield from (f"the index {found} is invalid: drop it (drop index concurrently)" for found in _left(hand, now))


def measure(hand: Hand, _found: Facts, now: Server | None) -> Iterator[Metric]:
    """Whether there is one more than before."""
    new = bool(now and name(hand) in _named(now) and name(hand) not in _named(hand.server))
    yield Metric(name="indexes_built", value=float(new), unit="count")


def findings(_hand: Hand, _found: Facts, _now: Server | None) -> Iterator[Finding]:
    """What could not be built is a problem, not a finding."""
    return iter(())

"""The planner's statistics, made anew by each engine's own command; told by the times that the server keeps."""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.databases import Server
from opsqueue.model.fact import Fact, Facts
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.database.hand import Hand

_SHOWN = 5


def after(_hand: Hand) -> Fact | None:
    """Nothing more is asked than before."""
    return None


def objections(hand: Hand) -> Iterator[str]:
    """Why there is nothing to do."""
    if hand.server.engine == "redis":
        yield "Redis keeps no statistics for a planner; choose backup, integrity_check, cleanup or tuning"
    elif not sum(one.objects for one in hand.server.databases):
        yield "there is nothing to analyze: no table was found"
    if hand.server.props.get("recovery") == "true":
        yield "this is a standby: it gets its statistics from its primary; analyze there"
    if hand.server.engine == "mysql" and not {"mariadb-check", "mysqlcheck"} & set(hand.server.tools):
        yield "this needs mariadb-check or mysqlcheck on the host; install the client's package"


def plan(hand: Hand) -> Plan:
    """One command for each database."""
    names = ", ".join(one.name for one in hand.server.databases)
    return Plan(steps=tuple(_steps(hand)), note=f"{hand.server.engine}: {names}")


def _steps(hand: Hand) -> Iterator[Step]:
    server = hand.server
    for database in server.databases:
        title = f"make the statistics of {database.name} anew"
        if server.engine == "postgresql":
            yield hand.step(title, "vacuumdb", "-w", "-q", "--analyze-only", "-d", database.name, login=True)
        elif server.engine == "mysql":
            program = "mariadb-check" if "mariadb-check" in server.tools else "mysqlcheck"
            argv = (program, *hand.client, "--analyze", "--skip-write-binlog", "--databases", database.name)
            yield hand.step(title, *argv, login=True)
        else:
            yield hand.step(title, "sqlite3", "-batch", "-bail", "-cmd", ".timeout 60000", hand.params.path, "analyze")


def times(server: Server) -> dict[str, tuple[int, int]]:
    """By table: when it was analyzed last (seconds since 1970, 0: never), and how many rows changed since."""
    rows = [row for row in server.detail if row[0] == "table"]
    return {f"{row[1]}.{row[2]}": (int(row[3]), int(row[4])) for row in rows}


def one(server: Server, name: str) -> int:
    """A number that the detail has by its name; 0 where it is missing."""
    return next((int(row[1]) for row in server.detail if row[0] == name and row[1].isdigit()), 0)


def verify(hand: Hand, _found: Facts, now: Server | None) -> Iterator[str]:
    """Which tables were not analyzed since it began."""
    if now is None:
        yield "how the statistics stand is not known: the server could not be asked"
        return
    if hand.server.engine == "sqlite":
        if one(now, "indexes") and not one(now, "statistics") and now.databases[0].objects:
            yield f"{hand.params.path} has no statistics; empty tables have none"
        return
    began, there = one(hand.server, "now"), times(now)
    old = [name for name, (last, _) in there.items() if last < began]
    if old:
        more = f" and {len(old) - _SHOWN} more" if len(old) > _SHOWN else ""
        yield f"not analyzed: {', '.join(old[:_SHOWN])}{more}; it needs the owner of the table, or a superuser"


def rollback(_hand: Hand, _found: Facts, _now: Server | None) -> Plan:
    """Newer statistics need no way back."""
    return Plan(note="statistics need no way back: each table has its old ones or its new ones")


def restored(_hand: Hand, _found: Facts, _now: Server | None) -> Iterator[str]:
    """Nothing is led back."""
    return iter(())


def measure(hand: Hand, _found: Facts, now: Server | None) -> Iterator[Metric]:
    """How many tables, and how stale they were."""
    if hand.server.engine == "sqlite":
        yield Metric(name="statistics_rows", value=float(one(now, "statistics")) if now else None, unit="count")
        return
    old, new = times(hand.server), times(now) if now else {}
    began = one(hand.server, "now")
    yield Metric(name="tables_analyzed", value=float(sum(last >= began for last, _ in new.values())), unit="count")
    yield Metric(name="rows_changed_before", value=float(sum(rows for _, rows in old.values())), unit="count")


def findings(_hand: Hand, _found: Facts, _now: Server | None) -> Iterator[Finding]:
    """What was stale stands in the metrics; nothing more is to be told."""
    return iter(())

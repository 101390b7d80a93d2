"""Which indexes of a PostgreSQL nobody uses; it is told with its evidence, and never acted upon."""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.databases import Server
from opsqueue.model.kind import Finding
from opsqueue.model.names import Severity
from opsqueue.operations.database.hand import Hand
from opsqueue.operations.database.predicate import quoted
from opsqueue.operations.database.statistics import one

_MB = 1 << 20
_DAY_S = 86_400


def unused(hand: Hand, server: Server) -> Iterator[Finding]:
    """A finding for each, or for each database whose statistics are too young to say so."""
    least = hand.params.min_size_mb * _MB
    rows = [row[1:] for row in server.detail if row[0] == "unused" and int(row[5]) >= least]
    for database in dict.fromkeys(row[0] for row in rows):
        days = _days(server, database)
        if days is None or days < hand.params.min_stats_days:
            yield _refused(hand, database, days)
        else:
            yield from (_told(row, days) for row in rows if row[0] == database)


def _days(server: Server, database: str) -> int | None:
    """How old the statistics are; None: the server does not tell."""
    since = [row[2] for row in server.detail if row[0] == "since" and row[1] == database and row[2].isdigit()]
    return (one(server, "now") - int(since[0])) // _DAY_S if since else None


def _refused(hand: Hand, database: str, days: int | None) -> Finding:
    age = "of an age that is not known" if days is None else f"{days} days old"
    text = f"the statistics of {database} are {age}, and min_stats_days is {hand.params.min_stats_days}"
    mend = "Ask as a superuser, or reset them once (select pg_stat_reset()) and wait." if days is None else ""
    return Finding(
        severity=Severity.INFO,
        code="index_statistics_young",
        message=f"some indexes were not used so far, and it is too early to call them unused: {text}",
        advice=mend or "Ask again later; or give a smaller min_stats_days, where that says enough.",
        evidence={"database": database, "statistics_days": days},
    )


def _told(row: tuple[str, ...], days: int) -> Finding:
    database, schema, table, name, size = row
    sql = f"drop index concurrently {quoted(schema, chr(34))}.{quoted(name, chr(34))}"
    return Finding(
        severity=Severity.INFO,
        code="index_unused",
        message=f"nobody used the index {database}.{schema}.{name} ({size} bytes) in the {days} days of its statistics",
        advice=f"See that it is not new, and that no standby and no rare report needs it; then drop it yourself: {sql}",
        evidence={"table": f"{schema}.{table}", "bytes": int(size), "scans": 0, "statistics_days": days},
    )

"""Keep a database well: proven backups, integrity checks, statistics, rebuilt indexes, cleanups, tuning.

What it does: finds the one server that listens on the host (PostgreSQL, MySQL or MariaDB, Redis) or takes the SQLite
file that it was given, and works with the engine's own programs, as the owner of the database. A backup is only one
after it was restored to scratch and compared; a check, after its report was written; statistics and rebuilds, after the
server itself says so. A cleanup deletes in batches what a predicate names; tuning recommends, and sets what needs no
restart where that is asked for.

How it is undone: what was begun of a backup is removed with its scratch databases; a proven backup stays. Half of a
report is removed. What an interrupted rebuild left invalid is dropped. Statistics need no way back. Settings that did
not take get their old values. Rows of a cleanup do not come back, save from its archive, by hand. Backups that were
removed because of their age do not come back; that is the last step, after the new one is proven.

After a crash: nothing is sent again. A command that still runs is waited for. What is then found decides: the numbered
backup, the report, the times, the new index; or what was begun is removed as above.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opsqueue.facts.databases import Server, database
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Analysis, Finding, Metric, OperationKind, Seen
from opsqueue.model.misspelt import nearest
from opsqueue.model.names import OperationType, Risk, Severity, Sort
from opsqueue.model.plan import Plan
from opsqueue.operations.database.hand import Hand
from opsqueue.operations.database.owners import about_owners
from opsqueue.operations.database.params import DatabaseMaintenanceParams
from opsqueue.operations.database.work import DETAILED, WORK, Work

_RESTART_S = 30
"""How long a server that went down in the middle is waited for."""
_WANTS = "; it wants a password: give engine redis, and password, a reference to it (with user for an ACL)"
_ABSENT = "no database was found on this host"


def facts(params: DatabaseMaintenanceParams) -> tuple[Fact, ...]:
    """Which server runs, what is in it, and which backups there are."""
    kind = params.maintenance_type
    return (database(params.where, kind if kind in DETAILED else ""),)


def _again(params: DatabaseMaintenanceParams, server: Server) -> Fact:
    """The very server that was found before; where it restarts meanwhile it is waited for, unless it was tuned."""
    kind = params.maintenance_type
    wait = 0 if kind == "tuning" else _RESTART_S
    where = replace(params.where, engine=server.engine, socket=server.socket, port=server.port, wait=wait)
    return database(where, kind if kind in DETAILED else "")


def after(params: DatabaseMaintenanceParams, before: Facts) -> tuple[Fact, ...]:
    """The same again, and what this sort of maintenance made."""
    hand = _hand(params, before)
    if hand is None:
        return facts(params)
    look, more = _again(params, hand.server), _work(params).after(hand)
    return (look, more) if more else (look,)


def _work(params: DatabaseMaintenanceParams) -> Work:
    return WORK[params.work]


def _server(found: Facts) -> Server | None:
    answer = found.get("database")
    return None if not answer or why_unknown(answer) is not None else Server.of(answer)


def _hand(params: DatabaseMaintenanceParams, before: Facts) -> Hand | None:
    server = _server(before)
    return Hand(params=params, server=server) if server else None


# -- before -----------------------------------------------------------------------------------------------


def objections(params: DatabaseMaintenanceParams, before: Facts) -> tuple[str, ...]:
    """Why nothing may be sent."""
    hand = _hand(params, before)
    if hand is None:
        return () if params.when_unclear == "skip" else (_not_one(params, before.get("database")),)
    unknown = () if hand.server.engine == "redis" else _unknown(hand)
    if unknown and not hand.server.databases:
        return unknown  # what else could be said is about no database at all
    return (*unknown, *_odd_names(hand), *_about_place(hand), *about_owners(hand), *_work(params).objections(hand))


def _unknown(hand: Hand) -> tuple[str, ...]:
    server = hand.server
    missing = sorted(set(hand.params.databases) - {one.name for one in server.databases})
    return tuple(
        f"there is no database {name!r} in this {server.engine}{nearest(name, server.names)}" for name in missing
    )


def _not_one(params: DatabaseMaintenanceParams, answer: Mapping[str, Any] | None) -> str:
    if answer is None or (reason := why_unknown(answer)) is not None:
        return f"the databases of this host could not be looked at: {reason if answer else 'nobody was asked'}"
    if answer["problem"]:
        found = _told(answer["found"][0])
        how = _WANTS if answer["problem"].startswith("NOAUTH") else ""
        return f"the database ({found}) could not be asked: {answer['problem']}{how}"
    if answer["found"]:
        several = "; ".join(_told(one) for one in answer["found"])
        return f"more than one database runs here: {several}; say which one with these parameters"
    wanted = "" if params.engine == "auto" else f" that is {params.engine}"
    how = "give engine with socket or port, or path for a SQLite file"
    return f"{_ABSENT}{wanted}; {how} (in the request, or in hosts.NAME.parameters.database_maintenance)"


def _told(one: Mapping[str, Any]) -> str:
    words = [f"engine={one['engine']}"]
    words += [f"socket={one['socket']}"] if one["socket"] else []
    words += [f"port={one['port']}"] if one["port"] else []
    return " ".join(words)


def _odd_names(hand: Hand) -> tuple[str, ...]:
    odd = [one.name for one in hand.server.databases if not _plain(one.name)]
    if not odd:
        return ()
    return (f"databases with other characters than letters, digits, - . _ are not worked on: {odd}; name databases",)


def _about_place(hand: Hand) -> tuple[str, ...]:
    """What is written there with our own rights must not be led elsewhere."""
    kinds = {"backup", "integrity_check", "cleanup", *(("tuning",) if hand.params.apply else ())}
    loose = "" if hand.becomes or hand.params.maintenance_type not in kinds else hand.server.loose
    return (f"others than root and us can change {loose}; give another backup_dir",) if loose else ()


def _plain(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace(".", "").replace("_", "").isalnum() and name[0] not in "-."


def plan(params: DatabaseMaintenanceParams, before: Facts) -> Plan:
    """The steps for the one database that was found."""
    hand = _hand(params, before)
    return _work(params).plan(hand) if hand else Plan(note=_not_one(params, before.get("database")))


# -- afterwards -------------------------------------------------------------------------------------------


def verify(params: DatabaseMaintenanceParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """Why this is not the success that was wanted."""
    hand = _hand(params, before)
    return tuple(_work(params).verify(hand, found, _server(found))) if hand else ()


def rollback(params: DatabaseMaintenanceParams, before: Facts, found: Facts) -> Plan:
    """Remove what was begun."""
    hand = _hand(params, before)
    return _work(params).rollback(hand, found, _server(found)) if hand else Plan(note=_ABSENT)


def restored(params: DatabaseMaintenanceParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """What of it is still there."""
    hand = _hand(params, before)
    return tuple(_work(params).restored(hand, found, _server(found))) if hand else ()


def measure(params: DatabaseMaintenanceParams, before: Facts, found: Facts) -> tuple[Metric, ...]:
    """What it came to, in numbers."""
    hand = _hand(params, before)
    return tuple(_work(params).measure(hand, found, _server(found))) if hand else ()


def analyse(params: DatabaseMaintenanceParams, seen: Seen) -> Analysis:
    """Findings; a score would say nothing."""
    hand = _hand(params, seen.before)
    if hand is not None:
        return Analysis(findings=tuple(_work(params).findings(hand, seen.after, _server(seen.after))))
    answer = seen.before.get("database")
    if answer and why_unknown(answer) is None and not answer["found"]:
        return Analysis()  # no database, nothing to tell
    advice = "Set hosts.NAME.parameters.database_maintenance, or ask with these parameters."
    text = f"nothing was done: {_not_one(params, answer)}"
    return Analysis(
        findings=(Finding(severity=Severity.WARNING, code="database_unclear", message=text, advice=advice),)
    )


def risk(params: DatabaseMaintenanceParams) -> Risk:
    """What a cleanup deletes is gone."""
    return Risk.DESTRUCTIVE if params.maintenance_type == "cleanup" else Risk.REVERSIBLE


OPERATION = OperationKind(
    name=OperationType.DATABASE_MAINTENANCE.value,
    summary="Back up, check, analyze, reindex, clean up or tune a PostgreSQL, MySQL, MariaDB, Redis or SQLite database",
    sort=Sort.CHANGING,
    params=DatabaseMaintenanceParams,
    facts=facts,
    objections=objections,
    plan=plan,
    after=after,
    verify=verify,
    rollback=rollback,
    restored=restored,
    measure=measure,
    analyse=analyse,
    risk=risk,
)

"""An integrity check: every engine's own programs look, a report keeps what they said, and damage is a finding.

Damage that was found is not a failure of the check: it did what it was asked for. A program that could not look is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.facts.database_reports import report
from opsqueue.facts.databases import Database, Server
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.database.hand import Hand

# The answer goes into the report, with its exit code before it; only a report that cannot be written is an error here.
_RUN = 'said=$("$@" 2>&1); code=$?; { printf "exit %s\\n" "$code"; printf "%s\\n" "$said" | head -c 20000; } >"$REPORT"'
_SNAPSHOT = 'redis-cli "$@" --rdb "$FILE" >"$FILE.log" 2>&1 || { cat "$FILE.log"; exit 3; }; "$CHECK" "$FILE"'
_DAMAGE = re.compile(
    r"invalid page|checksum|could not read block|missing chunk|unexpected chunk|invalid memory alloc"
    r"|compressed .{0,60} corrupt|could not access status of transaction"
)
_SQLITE_DAMAGE = re.compile(
    r"malformed|not a database|row \d+ missing|\*\*\* in database|wrong #|non-unique|corrupt", re.IGNORECASE
)
_MYSQL_DAMAGE = re.compile(r"^(error|warning)\s*:|corrupt", re.IGNORECASE)
_LINES = 20


def _place(hand: Hand) -> str:
    return f"{hand.base}/integrity_check"


def after(hand: Hand) -> Fact:
    """Asks what the report says."""
    return report(_place(hand), sudo=hand.params.sudo, timeout=120)


def objections(hand: Hand) -> Iterator[str]:
    """Why nothing could be looked at."""
    if not hand.server.databases:
        yield "there is nothing to check: no database was found, or none of those that were named"
    if hand.server.engine == "redis" and not hand.server.props.get("loader"):
        yield "no redis-server and redis-check-rdb that are not older than the server are on the PATH of the host"
    if hand.server.engine == "mysql" and not {"mariadb-check", "mysqlcheck"} & set(hand.server.tools):
        yield "a check needs mariadb-check or mysqlcheck on the host; install the client's package"


def plan(hand: Hand) -> Plan:
    """Look at every database; the report is kept in the place of backups."""
    return Plan(steps=tuple(_steps(hand)), note=f"{hand.server.engine}: the report goes to {_place(hand)}")


def _steps(hand: Hand) -> Iterator[Step]:
    place = _place(hand)
    yield from hand.directories()
    yield hand.step("remove the last report", "rm", "-rf", "--", place)
    yield hand.step("begin the report", "mkdir", "-m", "0700", "--", place)
    yield from _looks(hand)
    yield hand.step("end the report", "touch", f"{place}/done")


def _look(hand: Hand, title: str, name: str, *argv: str, env: Mapping[str, str] | None = None) -> Step:
    told = {"REPORT": f"{_place(hand)}/{name}.report", **(env or {})}
    return hand.step(title, "sh", "-c", _RUN, "sh", *argv, env=told, login=True)


def _has_amcheck(hand: Hand, database: Database) -> bool:
    return bool(hand.server.props.get("amcheck")) and database.more[3] != "0"


def _looks(hand: Hand) -> Iterator[Step]:
    server = hand.server
    if server.engine == "redis":
        snapshot, program = f"{_place(hand)}/check.rdb", f"{server.props['loader']}/redis-check-rdb"
        argv = ("sh", "-c", _SNAPSHOT, "sh", *hand.client)
        yield _look(hand, "take a snapshot and check it", "snapshot", *argv, env={"FILE": snapshot, "CHECK": program})
        yield hand.step("remove the snapshot", "rm", "-f", "--", snapshot, f"{snapshot}.log")
    for database in server.databases:
        name = database.name
        if server.engine == "postgresql":
            if _has_amcheck(hand, database):
                check = (server.props["amcheck"], "-w", "--heapallindexed", "-d", name)
                yield _look(hand, f"check tables and indexes of {name}", f"amcheck-{name}", *check)
            argv = (
                "pg_dump",
                "--no-password",
                "--format=custom",
                "--compress=0",
                "--no-sync",
                "--file=/dev/null",
                name,
            )
            yield _look(hand, f"read every row of {name}", f"read-{name}", *argv)
        if server.engine == "mysql":
            program = "mariadb-check" if "mariadb-check" in server.tools else "mysqlcheck"
            argv = (program, *hand.client, "--check", "--skip-write-binlog", "--databases", name)
            yield _look(hand, f"check the tables of {name}", f"check-{name}", *argv)
        if server.engine == "sqlite":
            asked = ("pragma integrity_check", "pragma foreign_key_check")
            argv = ("sqlite3", "-batch", "-readonly", "-cmd", ".timeout 60000", hand.params.path, *asked)
            yield _look(hand, f"check {name}", "file", *argv)


# -- afterwards -------------------------------------------------------------------------------------------


def _report(found: Facts) -> Mapping[str, Any] | None:
    answer = found.get("report")
    return None if not answer or why_unknown(answer) is not None else answer


def judged(name: str, check: Mapping[str, Any]) -> str:
    """`good`, `damaged`, or `failed` when the program could not look."""
    code, text = check["exit_code"], "\n".join(check["lines"])
    if name.startswith("amcheck-"):
        return {0: "good", 2: "damaged"}.get(code, "failed")
    if name.startswith("read-"):
        return "good" if code == 0 else "damaged" if _DAMAGE.search(text) else "failed"
    if name.startswith("check-"):
        bad = any(_MYSQL_DAMAGE.search(line) for line in check["lines"])
        return ("damaged" if bad else "good") if code == 0 else "failed"
    if name == "snapshot":
        return {0: "good", 1: "damaged"}.get(code, "failed")
    if code == 0 and check["lines"] == ["ok"]:
        return "good"
    return "damaged" if code == 0 or _SQLITE_DAMAGE.search(text) else "failed"


def verify(hand: Hand, found: Facts, _now: Server | None) -> Iterator[str]:
    """Why it is not known whether the databases are whole."""
    answer = _report(found)
    if answer is None or answer["run"] in {"absent", "begun", hand.server.report}:
        yield f"the check did not run to its end: see {_place(hand)} on the host"
        return
    if not answer["checks"]:
        yield "nothing was checked"
    for name, check in answer["checks"].items():
        if judged(name, check) == "failed":
            yield f"{name} could not look (exit code {check['exit_code']}): {' '.join(check['lines'])[-300:]}"
    yield from _stale(hand)


def _stale(hand: Hand) -> Iterator[str]:
    """No backup that is young enough; what was made by others is not known here."""
    server, most = hand.server, hand.params.max_backup_age_hours
    if most and not server.complete:
        yield f"there is no proven backup in {hand.base}, and the newest may be {most} hours old"
    elif most and (age := server.ages[f"{server.complete[-1]:06}"] // 3600) >= most:
        yield f"the newest proven backup in {hand.base} is {age} hours old, and may be {most}"


def rollback(hand: Hand, found: Facts, _now: Server | None) -> Plan:
    """A check changes nothing; half of a report is removed."""
    answer = _report(found)
    if answer is None or answer["run"] != "begun":
        return Plan(note="a check changes nothing, and there is no half of a report")
    return Plan(steps=(hand.step("remove half of a report", "rm", "-rf", "--", _place(hand)),))


def restored(hand: Hand, found: Facts, _now: Server | None) -> Iterator[str]:
    """What of a broken check is still there."""
    answer = _report(found)
    if answer is None or answer["run"] == "begun":
        yield f"half of a report may be left in {_place(hand)}: remove it"


def measure(_hand: Hand, found: Facts, _now: Server | None) -> Iterator[Metric]:
    """How many checks were made, and how many found damage."""
    answer = _report(found)
    if answer:
        verdicts = [judged(name, check) for name, check in answer["checks"].items()]
        yield Metric(name="checks", value=float(len(verdicts)), unit="count")
        yield Metric(name="damaged", value=float(verdicts.count("damaged")), unit="count")


def findings(hand: Hand, found: Facts, _now: Server | None) -> Iterator[Finding]:
    """Damage, and what could not be looked at as closely as it might be."""
    for name, check in (_report(found) or {"checks": {}})["checks"].items():
        if judged(name, check) == "damaged":
            yield Finding(
                severity=Severity.CRITICAL,
                code="database_damaged",
                message=f"{hand.server.engine}: {name} found damage: {' '.join(check['lines'])[:300]}",
                advice="Take a copy of the files before anything else, then restore the last proven backup.",
                evidence={"check": name, "lines": check["lines"][:_LINES]},
            )
    for database in hand.server.databases:
        if hand.server.engine == "postgresql" and not _has_amcheck(hand, database):
            yield Finding(
                severity=Severity.INFO,
                code="amcheck_missing",
                message=f"the indexes of {database.name} were not looked into: the extension amcheck is not there",
                advice=f"Run `create extension amcheck` in {database.name}, and install pg_amcheck on the host.",
            )

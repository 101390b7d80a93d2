"""Alerts in the record: each write shows the version it saw, so that two who judge at once write one transition."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, func, insert, or_, select, update

from opsqueue.model.alert import Alert, AlertState, Kind, Transition
from opsqueue.model.names import Severity
from opsqueue.store.gently import insert_new, put
from opsqueue.store.rows import in_parts, kept, pack, unpack
from opsqueue.store.schema_alerts import alert_health, alert_history
from opsqueue.store.schema_alerts import alerts as table

_LINES = alert_history.c
_ASKED = ""
"""The host of the row that says that a rule was asked at all."""
_LOOK = ""
"""In the table of rules that have no answer: not a rule, but the look at alerts itself."""
_ACTIVE = table.c.state != "inactive"
_CHANGED = [column.name for column in table.columns if column.name not in {"fingerprint", "version"}]
_UPDATE = (
    update(table)
    .where(table.c.fingerprint == bindparam("the_fingerprint"), table.c.version == bindparam("the_version"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGED} | {"version": table.c.version + 1})
)

# Made once: these are asked in every operation, and to make them costs more than to run them.
_OF_HOSTS = select(table).where(table.c.host.in_(bindparam("hosts", expanding=True))).order_by(table.c.fingerprint)
_COUNTS = select(table.c.rule, table.c.host, func.count()).where(_ACTIVE).group_by(table.c.rule, table.c.host)
_NOTED = select(alert_health.c.rule, alert_health.c.host, alert_health.c.error).where(
    alert_health.c.rule != _LOOK, alert_health.c.host.in_(bindparam("hosts", expanding=True))
)


def of_hosts(connection: Connection, hosts: Collection[str]) -> dict[str, dict[str, Alert]]:
    """All that is known of these hosts, by host and fingerprint."""
    found = {host: dict[str, Alert]() for host in hosts}
    for some in in_parts(hosts):
        for row in connection.execute(_OF_HOSTS, {"hosts": some}).mappings():
            found[row["host"]][row["fingerprint"]] = alert_of(row)
    return found


def get(connection: Connection, fingerprint: str) -> Alert | None:
    """The alert with this fingerprint."""
    row = connection.execute(select(table).where(table.c.fingerprint == fingerprint)).mappings().first()
    return alert_of(row) if row else None


def starting_with(connection: Connection, beginning: str, limit: int = 5) -> list[Alert]:
    """Alerts whose fingerprint or incident begins so."""
    begins = or_(
        table.c.fingerprint.startswith(beginning, autoescape=True),
        table.c.incident.startswith(beginning, autoescape=True),
    )
    rows = connection.execute(select(table).where(begins).order_by(table.c.fingerprint).limit(limit)).mappings()
    return [alert_of(row) for row in rows]


def every(connection: Connection) -> list[Alert]:
    """All alerts, what is over too, in the order of their fingerprints."""
    rows = connection.execute(select(table).order_by(table.c.fingerprint)).mappings()
    return [alert_of(row) for row in rows]


def active(connection: Connection) -> list[Alert]:
    """What is pending, fires or flaps."""
    query = select(table).where(or_(_ACTIVE, table.c.flapping.is_(True))).order_by(table.c.fingerprint)
    return [alert_of(row) for row in connection.execute(query).mappings()]


def of_incidents(connection: Connection, incidents: Collection[str]) -> list[Alert]:
    """The alerts whose latest incident is one of these."""
    queries = (select(table).where(table.c.incident.in_(some)) for some in in_parts(incidents))
    return [alert_of(row) for query in queries for row in connection.execute(query).mappings()]


def counts(connection: Connection) -> dict[tuple[str, str], int]:
    """How many alerts each rule has on each host, those that are over left out."""
    return {(row[0], row[1]): row[2] for row in connection.execute(_COUNTS)}


def number_active(connection: Connection, rule: str) -> int:
    """How many alerts of this rule are not over."""
    found: int = connection.execute(select(func.count()).where(_ACTIVE, table.c.rule == rule)).scalar_one()
    return found


def save(tx: Connection, before: Alert, after: Alert, lines: Sequence[Transition] = ()) -> bool:
    """Write an alert and its lines of history, if it still is as `before`; False: somebody was faster."""
    row = alert_row(after)
    if before.version == 0:
        done = insert_new(tx, table, {**row, "version": 1})
    else:
        changes = {f"new_{name}": row[name] for name in _CHANGED}
        key = {"the_fingerprint": before.fingerprint, "the_version": before.version}
        done = tx.execute(_UPDATE, key | changes).rowcount == 1
    if done:
        append(tx, lines)
    return done


def mend_clock(tx: Connection, now: float, far: float) -> int:
    """Bring back alerts whose last sample, or acknowledgement, is from a future that cannot be; returns how many."""
    names = ("active_at", "fired_at", "kept_since", "last_at", "acked_at")
    times: dict[str, Any] = {name: _at_most(table.c[name], now) for name in names}
    lasts = table.c.acked_until - table.c.acked_at
    over = (table.c.acked_by == "") & (table.c.acked_until > now)
    times["acked_until"] = case((over, now), (table.c.acked_at > now, now + lasts), else_=table.c.acked_until)
    ahead = table.c.last_at > now + far, table.c.acked_at > now + far, over & (table.c.acked_until > now + far)
    late = update(table).where(or_(*ahead))
    return tx.execute(late.values({**times, "version": table.c.version + 1})).rowcount


def _at_most(column: ColumnElement[float], now: float) -> ColumnElement[float]:
    return case((column > now, now), else_=column)


def forget(tx: Connection, alert: Alert) -> bool:
    """Drop an alert, if it still is as it was seen."""
    mine = table.c.fingerprint == alert.fingerprint, table.c.version == alert.version
    return tx.execute(delete(table).where(*mine)).rowcount == 1


def append(tx: Connection, lines: Sequence[Transition]) -> None:
    """Add lines of history, which is appended only."""
    if lines:
        tx.execute(insert(alert_history), [_line_row(line) for line in lines])


def history(
    connection: Connection,
    *,
    since: float = 0.0,
    until: float | None = None,
    fingerprint: str = "",
    host: str = "",
    limit: int | None = None,
) -> list[Transition]:
    """Lines of history, newest first."""
    query = select(alert_history).where(alert_history.c.at >= since).order_by(alert_history.c.id.desc())
    if until is not None:
        query = query.where(alert_history.c.at < until)
    if fingerprint:
        query = query.where(alert_history.c.fingerprint == fingerprint)
    if host:
        query = query.where(alert_history.c.host == host)
    if limit is not None:
        query = query.limit(limit)
    return [_line_of(row) for row in connection.execute(query).mappings()]


def named(connection: Connection, beginning: str, limit: int) -> list[Transition]:
    """Lines of history whose fingerprint or incident begins so, newest first."""
    begins = (column.startswith(beginning, autoescape=True) for column in (_LINES.fingerprint, _LINES.incident))
    query = select(alert_history).where(or_(*begins)).order_by(_LINES.id.desc()).limit(limit)
    return [_line_of(row) for row in connection.execute(query).mappings()]


def ended(connection: Connection, since: float, limit: int) -> list[tuple[Transition, float | None]]:
    """How incidents ended since then, the newest first, each with the moment at which it began to fire."""
    began, over = alert_history.alias("began"), alert_history
    same = (began.c.fingerprint == over.c.fingerprint, began.c.incident == over.c.incident, began.c.kind == "firing")
    fired = select(func.min(began.c.at)).where(*same).correlate(over).scalar_subquery().label("fired")
    query = select(over, fired).where(over.c.kind == "resolved", over.c.at >= since).order_by(over.c.id.desc())
    return [(_line_of(row), row["fired"]) for row in connection.execute(query.limit(limit)).mappings()]


def first_at(connection: Connection) -> float | None:
    """When the oldest line of history was written; None: there is none."""
    found: float | None = connection.execute(select(func.min(alert_history.c.at))).scalar_one()
    return found


def prune(tx: Connection, before: float) -> int:
    """Forget history older than that; returns how many lines."""
    return tx.execute(delete(alert_history).where(alert_history.c.at < before)).rowcount


def note_health(tx: Connection, host: str, sound: Iterable[str], errors: Mapping[str, str], at: float) -> None:
    """Write down which rules had no answer for this host, and that others have one again."""
    for rule in sorted(errors):
        put(tx, alert_health, {"rule": rule, "host": host, "error": errors[rule][:500], "at": at})
    if well := sorted(set(sound) - set(errors)):
        tx.execute(delete(alert_health).where(alert_health.c.host == host, alert_health.c.rule.in_(well)))


def health(connection: Connection) -> dict[str, list[tuple[str, str, float]]]:
    """By rule: on which hosts it has no answer, why, and since when it was last tried."""
    found: dict[str, list[tuple[str, str, float]]] = {}
    of_hosts = select(alert_health).where(alert_health.c.host != _ASKED, alert_health.c.rule != _LOOK)
    for row in connection.execute(of_hosts.order_by(alert_health.c.rule, alert_health.c.host)):
        found.setdefault(row.rule, []).append((row.host, row.error, row.at))
    return found


def noted(connection: Connection, hosts: Collection[str]) -> tuple[dict[str, set[str]], dict[str, str]]:
    """By host the rules that had no answer for it; and by rule the digest with which a worker asked it last."""
    unwell: dict[str, set[str]] = {}
    asked: dict[str, str] = {}
    for some in in_parts([_ASKED, *hosts]):
        for rule, host, error in connection.execute(_NOTED, {"hosts": some}):
            if host == _ASKED:
                asked[rule] = error
            else:
                unwell.setdefault(host, set()).add(rule)
    return unwell, asked


def note_asked(tx: Connection, digests: Mapping[str, str], at: float) -> None:
    """Write down which rules were asked, as they stand."""
    for rule in sorted(digests):
        put(tx, alert_health, {"rule": rule, "host": _ASKED, "error": digests[rule], "at": at})


def forget_health(tx: Connection, rules: Collection[str]) -> None:
    """Drop what is noted of rules that are no more; `rules` are those that are."""
    tx.execute(delete(alert_health).where(alert_health.c.rule.not_in([_LOOK, *sorted(rules)])))


def note_faults(tx: Connection, wrong: Mapping[str, str], well: Collection[str], at: float) -> None:
    """Write down at which alerts and groups the look fails, by name, and at which it does not any more."""
    for name in sorted(wrong):
        put(tx, alert_health, {"rule": _LOOK, "host": name, "error": kept(wrong[name])[:500], "at": at})
    if well:
        mine = alert_health.c.rule == _LOOK, alert_health.c.host.in_(sorted(well))
        tx.execute(delete(alert_health).where(*mine))


def faults(connection: Connection) -> dict[str, tuple[str, float]]:
    """At what the look at alerts fails: by the name of an alert or a group, why and since when; empty: at all."""
    query = select(alert_health).where(alert_health.c.rule == _LOOK).order_by(alert_health.c.host)
    return {row.host: (row.error, row.at) for row in connection.execute(query)}


def alert_of(row: Mapping[Any, Any]) -> Alert:
    """The alert in a row."""
    data = {name: row[name] for name in Alert.__dataclass_fields__}
    loaded = {"labels": unpack(data["labels"]), "muted_by": unpack(data["muted_by"])}
    return Alert(**{**data, **loaded, "severity": Severity(data["severity"]), "state": AlertState(data["state"])})


def alert_row(alert: Alert) -> dict[str, Any]:
    """The columns of an alert."""
    data = {name: getattr(alert, name) for name in Alert.__dataclass_fields__}
    packed = {"labels": pack(alert.labels), "muted_by": pack(alert.muted_by), "note": kept(alert.note)}
    return {**data, **packed, "host": alert.host}


def _line_of(row: Mapping[Any, Any]) -> Transition:
    data = {name: row[name] for name in Transition.__dataclass_fields__}
    return Transition(**{**data, "kind": Kind(data["kind"]), "severity": Severity(data["severity"])})


def _line_row(line: Transition) -> dict[str, Any]:
    data = {name: getattr(line, name) for name in Transition.__dataclass_fields__ if name != "id"}
    return {**data, "reason": kept(line.reason)}

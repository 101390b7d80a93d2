"""Incidents that alerts tell of: each critical alert that fired for a host, from its first failing sample on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, case, func, literal, select

from opsqueue.model.alert import Kind
from opsqueue.model.names import Severity
from opsqueue.model.observed import Incident
from opsqueue.store.looks import these_or_all
from opsqueue.store.schema_alerts import alert_history as table

_TOLD = (Kind.PENDING, Kind.DROPPED, Kind.FIRING, Kind.ACKNOWLEDGED, Kind.REMEDIATED, Kind.RESOLVED)


def incidents(connection: Connection, since: float, until: float, hosts: Sequence[str] = ()) -> tuple[Incident, ...]:
    """Those that touch this time, as they stood at its end; no hosts: all."""
    found: list[Incident] = []
    for some in these_or_all(hosts):
        found += _told(connection.execute(_lines(since, until, some)))
    touching = (one for one in found if one.resolved is None or one.resolved >= since)
    return tuple(sorted(touching, key=lambda one: (one.start, one.host, one.id)))


def _lines(since: float, until: float, hosts: Sequence[str]) -> Select[Any]:
    """What was told of each alert from the firing before the first one that counts, so that its beginning is known."""
    first = _first(since, until, hosts).subquery()
    before = table.alias()
    earlier = select(func.max(before.c.id)).where(
        before.c.fingerprint == first.c.fingerprint, before.c.id < first.c.id, before.c.kind == Kind.FIRING
    )
    since_then = select(first.c.fingerprint, func.coalesce(earlier.scalar_subquery(), 0).label("id")).subquery()
    mine = (table.c.fingerprint == since_then.c.fingerprint) & (table.c.id >= since_then.c.id)
    told = table.c.kind.in_(_TOLD), table.c.at < until
    return select(table).join(since_then, mine).where(*told).order_by(table.c.fingerprint, table.c.id)


def _first(since: float, until: float, hosts: Sequence[str]) -> Select[Any]:
    """By alert, its first critical firing that was not over when the time began."""
    # Written out, not bound: only so do both databases know that the index of critical firings holds them all.
    kind, severity = (literal(str(word), literal_execute=True) for word in (Kind.FIRING, Severity.CRITICAL))
    later = table.alias()
    # Only the next end is looked at: to go on until one fits would be to go through all that came after.
    end = (
        select(case((later.c.incident == table.c.incident, later.c.at)))
        .where(later.c.fingerprint == table.c.fingerprint, later.c.id > table.c.id, later.c.kind == Kind.RESOLVED)
        .order_by(later.c.id)
        .limit(1)
    )
    lasts = func.coalesce(end.scalar_subquery(), since) >= since
    fired = select(table.c.fingerprint, func.min(table.c.id).label("id")).where(
        table.c.kind == kind, table.c.severity == severity, table.c.host > "", table.c.at < until, lasts
    )
    return (fired.where(table.c.host.in_(hosts)) if hosts else fired).group_by(table.c.fingerprint)


def _told(lines: Iterable[Row[Any]]) -> list[Incident]:
    """The incidents of these lines, which come alert by alert, each in the order in which it was written."""
    found: dict[str, Incident] = {}
    pending: dict[str, float] = {}
    for line in lines:
        if line.kind == Kind.PENDING:
            pending[line.fingerprint] = line.at
        elif line.kind == Kind.DROPPED:
            pending.pop(line.fingerprint, None)
        elif line.kind == Kind.FIRING:
            start = pending.pop(line.fingerprint, line.at)
            if line.severity == Severity.CRITICAL:
                found.setdefault(line.incident, _begun(line, start))
        elif line.incident in found:
            found[line.incident] = _gone_on(found[line.incident], line)
    return list(found.values())


def _begun(line: Row[Any], start: float) -> Incident:
    return Incident(id=line.incident, host=line.host, start=start, detected=line.at, rule=line.rule)


def _gone_on(incident: Incident, line: Row[Any]) -> Incident:
    if line.kind == Kind.ACKNOWLEDGED:
        return incident if incident.acknowledged is not None else replace(incident, acknowledged=line.at)
    if line.kind == Kind.REMEDIATED:
        return replace(incident, remedied=True)
    return replace(incident, resolved=line.at, remedied=bool(incident.remedied))

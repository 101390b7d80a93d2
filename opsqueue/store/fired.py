"""Incidents that alerts tell of: each critical alert that fired for a host, from its first failing sample on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, select

from opsqueue.model.alert import Kind
from opsqueue.model.names import Severity
from opsqueue.model.observed import Incident
from opsqueue.store.looks import in_parts
from opsqueue.store.schema_alerts import alert_history as table

_TOLD = (Kind.PENDING, Kind.DROPPED, Kind.FIRING, Kind.ACKNOWLEDGED, Kind.REMEDIATED, Kind.RESOLVED)


def incidents(connection: Connection, since: float, until: float, hosts: Sequence[str] = ()) -> tuple[Incident, ...]:
    """Those that touch this time, as they stood at its end; no hosts: all."""
    fired = select(table.c.fingerprint).where(
        table.c.kind == Kind.FIRING, table.c.severity == Severity.CRITICAL, table.c.host != "", table.c.at < until
    )
    query = (
        select(table)
        .where(table.c.fingerprint.in_(fired), table.c.kind.in_(_TOLD), table.c.at < until)
        .order_by(table.c.fingerprint, table.c.id)
    )
    found: list[Incident] = []
    for some in in_parts(hosts):
        found += _told(connection.execute(query.where(table.c.host.in_(some)) if some else query))
    touching = (one for one in found if one.resolved is None or one.resolved >= since)
    return tuple(sorted(touching, key=lambda one: (one.start, one.host, one.id)))


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

"""Deployments in the record: written once for each event, moved by whoever knows their state; what they monitor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, exists, func, select, update

from opsqueue.errors import Conflict, NotFound
from opsqueue.model.deployment import Deployment, DeploymentState
from opsqueue.store.gently import insert_new, put
from opsqueue.store.rows import pack, unpack
from opsqueue.store.schema_deployments import deployments as table
from opsqueue.store.schema_deployments import monitored

_JSON = ("systems", "check", "rollback")
_LEAST_PREFIX = 4
_AHEAD = 120.0
"""Seconds by which clocks of the cluster may differ; what is later than that was written before ours was set back."""


def create(tx: Connection, deployment: Deployment, digest: str) -> bool:
    """Write a new one; False when the same event is there already, Conflict when its id belongs to another."""
    if insert_new(tx, table, {**_row(deployment), "digest": digest}):
        return True
    found = tx.execute(select(table.c.digest).where(table.c.id == deployment.id)).scalar_one()
    if found != digest:
        raise Conflict(
            f"the id {deployment.id} belongs to another deployment event. Send this one with an id of its own, "
            f"or look at the one that is there with `opsqueue deployments show {deployment.id}`."
        )
    return False


def get(connection: Connection, deployment_id: str) -> Deployment:
    """The one with this id; NotFound otherwise."""
    row = connection.execute(select(table).where(table.c.id == deployment_id)).mappings().first()
    if row is None:
        raise NotFound(f"there is no deployment {deployment_id[:80]!r}; `opsqueue deployments list` shows them")
    return _deployment(row)


def known(connection: Connection, deployment_id: str) -> bool:
    """Whether there is one with this id."""
    return connection.execute(select(table.c.id).where(table.c.id == deployment_id)).first() is not None


def resolve(connection: Connection, prefix: str) -> str:
    """The one id that begins with `prefix` (4 characters or more); NotFound, or Conflict when several do."""
    query = select(table.c.id).where(table.c.id.startswith(prefix.lower(), autoescape=True)).limit(3)
    ids = list(connection.execute(query).scalars()) if len(prefix) >= _LEAST_PREFIX else []
    if len(ids) > 1:
        raise Conflict(f"several deployments begin with {prefix}: {', '.join(ids)}. Write more of the id.")
    if not ids:
        raise NotFound(f"there is no deployment {prefix[:80]!r}; `opsqueue deployments list` shows them")
    return str(ids[0])


def listed(connection: Connection, *, service: str | None = None, limit: int = 50) -> list[Deployment]:
    """The newest first."""
    query = select(table).order_by(table.c.created_at.desc()).limit(limit)
    if service is not None:
        query = query.where(table.c.service == service)
    return [_deployment(row) for row in connection.execute(query).mappings()]


def services(connection: Connection) -> list[str]:
    """Every service that was ever deployed."""
    return [str(name) for name in connection.execute(select(table.c.service).distinct()).scalars()]


def going_on(connection: Connection, limit: int = 200, *, after: Deployment | None = None) -> list[Deployment]:
    """Those that are not over, the oldest first: the first page of them, or the one after the last that is known."""
    query = select(table).where(table.c.finished_at.is_(None)).order_by(table.c.created_at, table.c.id).limit(limit)
    if after is not None:
        beside = (table.c.created_at == after.created_at) & (table.c.id > after.id)
        query = query.where((table.c.created_at > after.created_at) | beside)
    return [_deployment(row) for row in connection.execute(query).mappings()]


def newest(connection: Connection, services: Collection[str]) -> dict[str, float]:
    """When each of these services was last deployed."""
    query = select(table.c.service, func.max(table.c.created_at)).where(table.c.service.in_(services))
    rows = connection.execute(query.group_by(table.c.service)) if services else ()
    return {str(row[0]): float(row[1]) for row in rows}


def since(connection: Connection, deployment: Deployment, now: float) -> list[Deployment]:
    """Later ones of the same service, the newest first; one of a future that cannot be is an earlier one."""
    query = select(table).where(table.c.service == deployment.service, table.c.created_at > deployment.created_at)
    query = query.where(table.c.created_at <= now + _AHEAD)
    rows = connection.execute(query.order_by(table.c.created_at.desc()).limit(100)).mappings()
    return [_deployment(row) for row in rows]


def until(connection: Connection, deployment: Deployment, limit: int = 1000) -> list[Deployment]:
    """The other ones of the same service that are not later, the newest first."""
    query = select(table).where(table.c.service == deployment.service, table.c.id != deployment.id)
    query = query.where(table.c.created_at <= deployment.created_at).order_by(table.c.created_at.desc())
    return [_deployment(row) for row in connection.execute(query.limit(limit)).mappings()]


def move(tx: Connection, deployment: Deployment, state: DeploymentState, why: str, now: float) -> bool:
    """Bring it from the state that it is known to be in to the next; False when somebody else was quicker."""
    moved = update(table).where(table.c.id == deployment.id, table.c.state == deployment.state)
    return tx.execute(moved.values(state=state, why=why, finished_at=now if state.over else None)).rowcount == 1


def prune(tx: Connection, before: float) -> int:
    """Forget those that were over before then; what they monitor stays. Returns how many.

    The newest healthy one of each service on the same systems stays too: it is what a rollback leads back to.
    """
    newer = table.alias()
    runs = table.c.state == DeploymentState.HEALTHY
    same = (newer.c.service == table.c.service) & (newer.c.systems == table.c.systems)
    since_then = exists().where(same, newer.c.state == DeploymentState.HEALTHY, newer.c.created_at > table.c.created_at)
    return tx.execute(delete(table).where(table.c.finished_at < before, ~(runs & ~since_then))).rowcount


def monitor(
    tx: Connection, deployment: Deployment, hosts: Iterable[str], checks: Sequence[Mapping[str, Any]], now: float
) -> None:
    """From now on these checks of the service are part of every health check of these hosts.

    Those of a later deployment stay: this one took longer to be checked.
    """
    row = {"service": deployment.service, "checks": pack(checks), "deployment_id": deployment.id, "since": now}
    query = select(monitored.c.host).join(table, table.c.id == monitored.c.deployment_id)
    newer = query.where(monitored.c.service == deployment.service, table.c.created_at > deployment.created_at)
    taken = set(tx.execute(newer).scalars())
    for host in hosts:
        if host not in taken:
            put(tx, monitored, {**row, "host": host})


def forget(tx: Connection, service: str, hosts: Sequence[str] = ()) -> list[str]:
    """Stop monitoring a service, on these hosts or everywhere; returns the hosts on which it was."""
    these = monitored.c.service == service
    these = these & monitored.c.host.in_(hosts) if hosts else these
    return sorted(tx.execute(delete(monitored).where(these).returning(monitored.c.host)).scalars())


def checks(connection: Connection) -> dict[str, dict[str, tuple[Mapping[str, Any], ...]]]:
    """By host and service, the checks of healthy deployments."""
    found: dict[str, dict[str, tuple[Mapping[str, Any], ...]]] = {}
    query = select(monitored.c.host, monitored.c.service, monitored.c.checks)
    for host, service, some in connection.execute(query.order_by(monitored.c.host, monitored.c.service)):
        found.setdefault(host, {})[service] = unpack(some)
    return found


def _row(deployment: Deployment) -> dict[str, Any]:
    data = {name: getattr(deployment, name) for name in Deployment.__dataclass_fields__}
    return {**data, **{name: pack(data[name]) for name in _JSON}}


def _deployment(row: Mapping[Any, Any]) -> Deployment:
    data = {name: row[name] for name in Deployment.__dataclass_fields__}
    data |= {name: unpack(data[name]) for name in _JSON}
    return Deployment(**{**data, "state": DeploymentState(data["state"])})

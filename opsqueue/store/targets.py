"""Targets in the record; written only in a transaction that also showed the operation's token."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from opsqueue.model.names import TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.store.rows import pack, target_of, target_row, unpack
from opsqueue.store.schema import operations
from opsqueue.store.schema import targets as table

_KEY = ("operation_id", "host")
_SAVE = (
    update(table)
    .where(table.c.operation_id == bindparam("the_operation"), table.c.host == bindparam("the_host"))
    .values({column.name: bindparam(f"new_{column.name}") for column in table.c if column.name not in _KEY})
)
_SAVE_METRICS = (
    update(table)
    .where(table.c.operation_id == bindparam("the_operation"), table.c.host == bindparam("the_host"))
    .values(metrics=bindparam("new_metrics"))
)
_OF = select(table).where(table.c.operation_id == bindparam("the_operation")).order_by(table.c.position)
_COUNTS = (
    select(table.c.state, func.count())
    .where(table.c.operation_id == bindparam("the_operation"))
    .group_by(table.c.state)
)
_INSERT = insert(table)
_DELETE = delete(table).where(table.c.operation_id == bindparam("the_operation"))


def of(connection: Connection, operation_id: str) -> tuple[Target, ...]:
    """The targets of an operation, in their order."""
    rows = connection.execute(_OF, {"the_operation": operation_id}).mappings()
    return tuple(target_of(row) for row in rows)


def counts(connection: Connection, operation_id: str) -> dict[TargetState, int]:
    """How many targets of an operation are in each state."""
    rows = connection.execute(_COUNTS, {"the_operation": operation_id})
    return {TargetState(state): int(number) for state, number in rows}


def replace_all(tx: Connection, operation_id: str, targets: Sequence[Target]) -> None:
    """Make these the targets of the operation."""
    tx.execute(_DELETE, {"the_operation": operation_id})
    if targets:
        tx.execute(_INSERT, [target_row(target) for target in targets])


def save(tx: Connection, targets: Sequence[Target]) -> None:
    """Write targets as they now stand."""
    if targets:
        tx.execute(_SAVE, [_changes(target) for target in targets])


def save_metrics(tx: Connection, targets: Sequence[Target]) -> None:
    """Write what was measured; all else of the targets stays as it is written."""
    rows = [
        {"the_operation": one.operation_id, "the_host": one.host, "new_metrics": pack(one.metrics)} for one in targets
    ]
    if rows:
        tx.execute(_SAVE_METRICS, rows)


_FAR_BACK = 200
"""How many of a host's last targets are looked through; so that a long history costs no more than a short one."""


_LATELY = (
    select(table.c.operation_id, table.c.started_at)
    .where(table.c.host == bindparam("the_host"), table.c.started_at < bindparam("before"), table.c.metrics != "{}")
    .order_by(table.c.started_at.desc())
    .limit(_FAR_BACK)
    .subquery()
)
_LATEST_OF_ALL = (
    select(table.c.metrics)
    .join(_LATELY, (_LATELY.c.operation_id == table.c.operation_id) & (table.c.host == bindparam("the_host")))
    .join(operations, operations.c.id == table.c.operation_id)
    .where(operations.c.type == bindparam("the_type"))
    .order_by(_LATELY.c.started_at.desc())
)
_LATEST = _LATEST_OF_ALL.limit(1)
_LAST_LOOK = _LATEST.add_columns(func.coalesce(table.c.verified_at, _LATELY.c.started_at).label("at"))
_LATEST_ALIKE = _LATEST_OF_ALL.where(operations.c.parameters == bindparam("the_parameters")).limit(1)


def latest_metrics(connection: Connection, operation_type: str, host: str, before: float) -> dict[str, object]:
    """The metrics that the last operation of this type measured on this host; empty when none did lately."""
    asked = {"the_type": operation_type, "the_host": host, "before": before}
    found = connection.execute(_LATEST, asked).scalar_one_or_none()
    return dict(unpack(found)) if found else {}


def last_look(
    connection: Connection, operation_type: str, host: str, before: float
) -> tuple[float, dict[str, object]] | None:
    """When the last operation of this type measured something on this host (UNIX time), and what; None: not lately."""
    asked = {"the_type": operation_type, "the_host": host, "before": before}
    found = connection.execute(_LAST_LOOK, asked).one_or_none()
    return (found.at, dict(unpack(found.metrics))) if found else None


def latest_metrics_alike(connection: Connection, operation: Operation, host: str) -> dict[str, object]:
    """Likewise of the last one before this operation that was asked for with the same parameters."""
    asked = {"the_type": operation.type, "the_host": host, "before": operation.created_at}
    found = connection.execute(_LATEST_ALIKE, {**asked, "the_parameters": pack(operation.parameters)})
    metrics = found.scalar_one_or_none()
    return dict(unpack(metrics)) if metrics else {}


def _changes(target: Target) -> dict[str, object]:
    row = target_row(target)
    changes = {f"new_{name}": value for name, value in row.items() if name not in _KEY}
    return {**changes, "the_operation": target.operation_id, "the_host": target.host}

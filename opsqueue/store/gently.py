"""Insert what may be there already: SQLite and PostgreSQL say it alike, SQLAlchemy wants to know which it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite


def insert_new(tx: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless one with its key is there; True when it was new."""
    # Without the option SQLAlchemy forgets on PostgreSQL how many rows an INSERT wrote, and says -1.
    statement = _insert_new(table, tx.dialect.name)
    return tx.execute(statement, row, execution_options={"preserve_rowcount": True}).rowcount == 1


def insert_new_rows(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose keys are not there yet."""
    tx.execute(_insert_new(table, tx.dialect.name), rows)


def put(tx: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row, or make the one with its key the same as it."""
    tx.execute(_put(table, tx.dialect.name), row)


def put_rows(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or make those with their keys the same as they are."""
    tx.execute(_put(table, tx.dialect.name), rows)


@cache
def _insert_new(table: Table, dialect: str) -> Any:
    return _insert(table, dialect).on_conflict_do_nothing()


@cache
def _put(table: Table, dialect: str) -> Any:
    statement = _insert(table, dialect)
    keys = list(table.primary_key.columns)
    changes = {column.name: statement.excluded[column.name] for column in table.columns if column not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changes)


def _insert(table: Table, dialect: str) -> Any:
    if dialect == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415  # 30 ms of every command's start, for those who have it

    return postgresql.insert(table)

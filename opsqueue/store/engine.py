"""The database: SQLite in WAL mode on one machine, PostgreSQL in production."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import QueuePool

from opsqueue.errors import DatabaseUnreachable, InvalidConfig

_BUSY_MS = 15_000
_RESTED = 5.0
"""Seconds."""


class Store:
    """One database. `begin` is a write transaction, `read` a snapshot; both give a SQLAlchemy connection.

    A transaction lasts: once it is through, neither a power cut nor a crash of the database takes it back. What is
    harmless to do once more may be written with `lasting=False`, which does not wait for the disk; the order is kept,
    so that whatever lasts makes all that was written before it last too.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.sqlite = url.startswith("sqlite")
        # PostgreSQL at READ COMMITTED gives no snapshot anyway: without a transaction a read is one round trip.
        self._reading = {"reads_only": True} if self.sqlite else {"isolation_level": "AUTOCOMMIT"}
        try:
            self.engine = _engine(url)
            self._hasty = self.engine.execution_options(hasty=True) if self.sqlite else _postgresql(url)
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
            raise InvalidConfig(
                f"database_url cannot be used: {error}. Write sqlite:///path or postgresql+psycopg://host/name"
            ) from None
        if not self.sqlite:  # connections of their own: to switch one to and fro would cost a round trip each time
            event.listen(self._hasty, "connect", _wait_for_no_disk)

    @contextmanager
    def begin(self, *, lasting: bool = True) -> Iterator[Connection]:
        """A write transaction; on SQLite it takes the write lock at once, so that it never fails half-way."""
        with _spoken(), (self.engine if lasting else self._hasty).begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with _spoken(), self.engine.connect() as connection:
            yield connection.execution_options(**self._reading)

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()
        self._hasty.dispose()


def _postgresql(url: str) -> Engine:
    engine = create_engine(url, pool_size=4, max_overflow=16, pool_recycle=1800)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _ask_the_rested)
    return engine


def _wait_for_no_disk(raw: Any, _record: Any) -> None:
    raw.execute("SET SESSION synchronous_commit = off")
    raw.commit()


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return _postgresql(url)
    path = url.removeprefix("sqlite:///")
    if path in {"", ":memory:"} or url == path:
        raise InvalidConfig("database_url must name a file: sqlite:////var/lib/opsqueue/opsqueue.db")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise DatabaseUnreachable(
            f"the directory of the database {path} cannot be made: {error.strerror}. Look at state_dir and database_url"
        ) from None
    engine = create_engine(url, poolclass=QueuePool, pool_size=4, max_overflow=32)
    event.listen(engine, "connect", partial(_keep_private, Path(path)))
    event.listen(engine, "connect", _tune_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _note_use(_raw: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _ask_the_rested(raw: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection that rested whether it lives; asking each time would cost a round trip for every use."""
    if time.monotonic() - record.info.get("used_at", time.monotonic()) < _RESTED:
        return
    try:
        raw.execute("SELECT 1")
        raw.rollback()
    except Exception as error:
        raise DisconnectionError from error


def _keep_private(path: Path, _raw: Any, _record: Any) -> None:
    """A record that was just begun is for its owner only, whatever the folder allows."""
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.chmod(0o600)


def _tune_sqlite(raw: Any, _record: Any) -> None:
    raw.isolation_level = None  # BEGIN is said by `_begin_sqlite`
    for pragma in (
        f"busy_timeout={_BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
    ):
        raw.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("reads_only"):
        connection.exec_driver_sql("BEGIN")
        return
    # WAL: NORMAL may cost the last moments at a power cut, never the file.
    wanted, info = "NORMAL" if options.get("hasty") else "FULL", connection.connection.info
    if info.get("synchronous", "FULL") != wanted:
        connection.exec_driver_sql(f"PRAGMA synchronous={wanted}")
        info["synchronous"] = wanted
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _spoken() -> Iterator[None]:
    """Turn the driver's errors about reaching or writing the database into ours, which say what to do."""
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
        if not _about_reaching(error):
            raise
        raise DatabaseUnreachable(
            f"the database cannot be used: {reason}. Look at database_url with `opsqueue config show`, "
            "then try `opsqueue db upgrade` and `opsqueue doctor`."
        ) from error


def _about_reaching(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return isinstance(error.orig, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
            error.orig, sqlite3.IntegrityError | sqlite3.ProgrammingError
        )
    # OperationalError: connection, shutdown, disk full, deadlock; the names stand elsewhere in the driver's tree.
    return isinstance(error, OperationalError) or type(error.orig).__name__ in {
        "ReadOnlySqlTransaction",
        "UndefinedColumn",
        "UndefinedTable",
        "InsufficientPrivilege",
    }


__all__ = ["Connection", "Store"]

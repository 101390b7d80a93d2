"""Whether there is a record at all, asked without making one and without Alembic, whose import costs 0.1 s."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from opsqueue.errors import DatabaseUnreachable

_VERSION = text("SELECT version_num FROM alembic_version")


def file_of(url: str) -> Path | None:
    """The file of a SQLite database; None for a database on a server."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def missing(url: str) -> bool:
    """Whether the database is a file that is not there; DatabaseUnreachable when that cannot be told."""
    path = file_of(url)
    try:
        return path is not None and not path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise DatabaseUnreachable(f"the database {path} cannot be reached: {error.strerror}") from None


def written(connection: Connection) -> bool:
    """Whether a database has opsqueue's tables, of whatever revision."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(_VERSION).first() is not None

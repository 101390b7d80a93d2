"""Bring the tables to the form that this version needs."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from opsqueue.store.engine import Store

_LOCK = 0x6F707371  # "opsq": one upgrade at a time on PostgreSQL; SQLite's write lock does it there


def upgrade(store: Store) -> tuple[str | None, str | None]:
    """Run the migrations that are missing; returns the revision before and after. Safe to run side by side."""
    with store.begin() as connection:
        if not store.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = revision(connection)
        config = _config(connection)
        command.upgrade(config, "head")
        return before, revision(connection)


def revision(connection: Connection) -> str | None:
    """The revision that the tables have now; None when there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str | None:
    """The revision that this version of opsqueue needs."""
    return ScriptDirectory(str(_HERE)).get_current_head()


_HERE = Path(__file__).parent / "migrations"


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    return config

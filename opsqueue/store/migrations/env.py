"""Alembic's way in: the connection is handed over by `opsqueue.store.upgrade`."""

from __future__ import annotations

from alembic import context

from opsqueue.store.schema_partial import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()

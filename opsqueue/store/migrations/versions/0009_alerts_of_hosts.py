"""The history of alerts can be asked by host, and for what was critical, without going through all of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_CRITICAL = "kind = 'firing' AND severity = 'critical'"


def upgrade() -> None:
    """Add the indexes; with a history of a million lines that takes a few seconds."""
    op.create_index("ix_alert_history_host", "alert_history", ["host", "at"], unique=False)
    op.create_index(
        "ix_alert_history_critical",
        "alert_history",
        ["host", "at"],
        unique=False,
        sqlite_where=sa.text(_CRITICAL),
        postgresql_where=sa.text(_CRITICAL),
    )

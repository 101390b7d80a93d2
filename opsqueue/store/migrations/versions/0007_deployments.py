"""Deployments, and what key figures are found by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ENDED = sa.text("finished_at IS NOT NULL")
_OPEN = sa.text("finished_at IS NULL")
_BY_PERSON = sa.text("kind IN ('acknowledged', 'approved', 'cancel_asked', 'rejected', 'retry_asked')")


def upgrade() -> None:
    """Find operations by their end, and what people did to them; remember deployments, and what they monitor."""
    op.create_index(
        "ix_operations_finished", "operations", ["finished_at"], sqlite_where=_ENDED, postgresql_where=_ENDED
    )
    op.create_index(
        "ix_events_by_person", "events", ["operation_id"], sqlite_where=_BY_PERSON, postgresql_where=_BY_PERSON
    )
    op.create_table(
        "deployments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("systems", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("check", sa.Text(), nullable=False),
        sa.Column("rollback", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
    )
    op.create_index("ix_deployments_service_created", "deployments", ["service", "created_at"])
    op.create_index("ix_deployments_created", "deployments", ["created_at"])
    op.create_index("ix_deployments_open", "deployments", ["created_at"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_table(
        "monitored",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("service", "host", name=op.f("pk_monitored")),
    )

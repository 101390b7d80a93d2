"""Deployments, and what key figures are found by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0003"

_ENDED = sa.text("finished_at IS NOT NULL")
_BY_PERSON = sa.text("kind IN ('acknowledged', 'approved', 'cancel_asked', 'rejected', 'retry_asked')")


def upgrade() -> None:
    """Find operations by their end, and what people did to them."""
    op.create_index(
        "ix_operations_finished", "operations", ["finished_at"], sqlite_where=_ENDED, postgresql_where=_ENDED
    )
    op.create_index(
        "ix_events_by_person", "events", ["operation_id"], sqlite_where=_BY_PERSON, postgresql_where=_BY_PERSON
    )

"""Where a target was when its plan was verified."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the place; targets of before have none."""
    op.add_column("targets", sa.Column("place", sa.Text(), nullable=False, server_default=""))

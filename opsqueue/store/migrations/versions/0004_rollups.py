"""Summaries of samples, and how far each series has them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the summaries; those of samples that are there already are made by the upkeep."""
    op.add_column("series", sa.Column("rolled_until", sa.Double(), nullable=False, server_default="0"))
    op.add_column("series", sa.Column("raw_from", sa.Double(), nullable=False, server_default="0"))
    op.create_table(
        "rollups",
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("p95", sa.Double(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("series_id", "step", "at", name=op.f("pk_rollups")),
        sqlite_with_rowid=False,
    )

"""Messages that belong to no operation, what was sent when, and why a delivery waits or where it went instead."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"

_UNTOLD = sa.text("status IN ('queued', 'sending', 'failed')")
_GATHERED = sa.text("status = 'summary'")


def upgrade() -> None:
    """Add the tables; deliveries of before have no fallback, note or summary."""
    for name in ("fallback", "note", "summary"):
        op.add_column("deliveries", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "ix_deliveries_summary", "deliveries", ["summary"], sqlite_where=_GATHERED, postgresql_where=_GATHERED
    )
    op.create_table(
        "messages",
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("short", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("alike", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("event", name=op.f("pk_messages")),
    )
    op.create_index("ix_messages_created", "messages", ["created_at"])
    _tellings()
    op.create_table(
        "sends",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "event", name=op.f("pk_sends")),
    )
    op.create_index("ix_sends_channel_at", "sends", ["channel", "at"])


def _tellings() -> None:
    op.create_table(
        "tellings",
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("at", sa.Double()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("fallback", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event"], ["messages.event"], name=op.f("fk_tellings_event"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("event", "channel", name=op.f("pk_tellings")),
    )
    op.create_index("ix_tellings_due", "tellings", ["next_at"], sqlite_where=_UNTOLD, postgresql_where=_UNTOLD)
    op.create_index("ix_tellings_summary", "tellings", ["summary"], sqlite_where=_GATHERED, postgresql_where=_GATHERED)

"""The alert engine: rules, alerts, their history, silences, groups, escalation, tries to mend."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


# What happened to an alert is appended only; old lines are pruned by age, none is ever changed.
_APPEND_ONLY = {
    "sqlite": (
        """
        CREATE TRIGGER alert_history_append_only BEFORE UPDATE ON alert_history
        BEGIN SELECT RAISE(ABORT, 'the history of alerts is appended only'); END
        """,
    ),
    "postgresql": (
        """
        CREATE FUNCTION alert_history_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the history of alerts is appended only'; END $$
        """,
        """
        CREATE TRIGGER alert_history_append_only BEFORE UPDATE ON alert_history
        FOR EACH ROW EXECUTE FUNCTION alert_history_append_only()
        """,
    ),
}


def upgrade() -> None:
    """Add the tables of the alert engine."""
    op.create_table(
        "alert_attempts",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("operation_id", name=op.f("pk_alert_attempts")),
        sa.UniqueConstraint("incident", "number", name=op.f("uq_alert_attempts_incident_number")),
    )
    op.create_index("ix_alert_attempts_rule_host", "alert_attempts", ["rule", "host", "at"], unique=False)
    op.create_index("ix_alert_attempts_state", "alert_attempts", ["state"], unique=False)
    op.create_index("ix_alert_attempts_type", "alert_attempts", ["type", "at"], unique=False)
    op.create_table(
        "alert_escalations",
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("incident", "step", name=op.f("pk_alert_escalations")),
    )
    op.create_table(
        "alert_groups",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("sent_at", sa.Double(), nullable=True),
        sa.Column("sent", sa.Text(), nullable=False),
        sa.Column("resolved", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_alert_groups")),
    )
    op.create_table(
        "alert_health",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("rule", "host", name=op.f("pk_alert_health")),
    )
    op.create_table(
        "alert_history",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_history")),
    )
    op.create_index("ix_alert_history_at", "alert_history", ["at"], unique=False)
    op.create_index("ix_alert_history_fingerprint", "alert_history", ["fingerprint", "id"], unique=False)
    op.create_table(
        "alert_rules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_alert_rules")),
    )
    op.create_table(
        "alerts",
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("active_at", sa.Double(), nullable=True),
        sa.Column("fired_at", sa.Double(), nullable=True),
        sa.Column("resolved_at", sa.Double(), nullable=True),
        sa.Column("kept_since", sa.Double(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=True),
        sa.Column("every", sa.Double(), server_default="0", nullable=False),
        sa.Column("history", sa.Text(), nullable=False),
        sa.Column("flapping", sa.Boolean(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("acked_by", sa.Text(), nullable=False),
        sa.Column("acked_at", sa.Double(), nullable=True),
        sa.Column("acked_until", sa.Double(), nullable=True),
        sa.Column("muted_by", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_alerts")),
    )
    op.create_index(
        "ix_alerts_active",
        "alerts",
        ["state"],
        unique=False,
        sqlite_where=sa.text("state <> 'inactive'"),
        postgresql_where=sa.text("state <> 'inactive'"),
    )
    op.create_index("ix_alerts_host", "alerts", ["host"], unique=False)
    op.create_index("ix_alerts_incident", "alerts", ["incident"], unique=False)
    op.create_index("ix_alerts_rule", "alerts", ["rule"], unique=False)
    op.create_table(
        "silences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("matchers", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silences")),
    )
    op.create_index("ix_silences_ends", "silences", ["ends_at"], unique=False)
    for statement in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)

"""The tables of the alert engine."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, Table, Text, UniqueConstraint

from opsqueue.store.schema import Serial, metadata

alert_rules = Table(
    "alert_rules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("rule", Text, nullable=False),  # JSON
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
)

alert_health = Table(
    "alert_health",
    metadata,
    Column("rule", Text, primary_key=True),
    Column("host", Text, primary_key=True),
    Column("error", Text, nullable=False),
    Column("at", Double, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("labels", Text, nullable=False),  # JSON
    Column("severity", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("active_at", Double),
    Column("fired_at", Double),
    Column("resolved_at", Double),
    Column("kept_since", Double),
    Column("value", Double),
    Column("threshold", Double),
    Column("note", Text, nullable=False),
    Column("last_at", Double),
    Column("every", Double, nullable=False, server_default="0"),  # seconds
    Column("history", Text, nullable=False),
    Column("flapping", Boolean, nullable=False),
    Column("incident", Text, nullable=False),
    Column("acked_by", Text, nullable=False),
    Column("acked_at", Double),
    Column("acked_until", Double),
    Column("muted_by", Text, nullable=False),  # JSON
    Column("version", BigInteger, nullable=False),  # every write shows the one it saw
)
Index("ix_alerts_host", alerts.c.host)
Index("ix_alerts_rule", alerts.c.rule)
Index("ix_alerts_incident", alerts.c.incident)

alert_history = Table(
    "alert_history",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("value", Double),
    Column("threshold", Double),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
)
Index("ix_alert_history_at", alert_history.c.at)
Index("ix_alert_history_fingerprint", alert_history.c.fingerprint, alert_history.c.id)
Index("ix_alert_history_host", alert_history.c.host, alert_history.c.at)

silences = Table(
    "silences",
    metadata,
    Column("id", Text, primary_key=True),
    Column("matchers", Text, nullable=False),  # JSON, sets of texts
    Column("starts_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
)
Index("ix_silences_ends", silences.c.ends_at)

alert_groups = Table(
    "alert_groups",
    metadata,
    Column("key", Text, primary_key=True),
    Column("route", Text, nullable=False),
    Column("labels", Text, nullable=False),  # JSON
    Column("next_at", Double, nullable=False),
    Column("sent_at", Double),
    Column("sent", Text, nullable=False),  # JSON
    Column("resolved", Text, nullable=False),  # JSON
    Column("number", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
)

alert_escalations = Table(
    "alert_escalations",
    metadata,
    Column("incident", Text, primary_key=True),  # each step of an incident once, whoever comes
    Column("step", Integer, primary_key=True),
    Column("at", Double, nullable=False),
)

alert_attempts = Table(
    "alert_attempts",
    metadata,
    Column("operation_id", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("ended_at", Double),
    UniqueConstraint("incident", "number"),
)
Index("ix_alert_attempts_rule_host", alert_attempts.c.rule, alert_attempts.c.host, alert_attempts.c.at)
Index("ix_alert_attempts_type", alert_attempts.c.type, alert_attempts.c.at)
Index("ix_alert_attempts_state", alert_attempts.c.state)

"""The tables of deployments, and of what they monitor."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Table, Text

from opsqueue.store.schema import metadata

deployments = Table(
    "deployments",
    metadata,
    Column("id", Text, primary_key=True),  # of the event, also the idempotency key
    Column("digest", Text, nullable=False),  # of what the event says
    Column("service", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("systems", Text, nullable=False),  # JSON, as the event names them
    Column("status", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("check", Text, nullable=False),  # JSON, the request of the health check
    Column("rollback", Text),  # JSON, the request that leads back
    Column("state", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
)
Index("ix_deployments_service_created", deployments.c.service, deployments.c.created_at)
Index("ix_deployments_created", deployments.c.created_at)

monitored = Table(
    "monitored",
    metadata,
    Column("service", Text, primary_key=True),
    Column("host", Text, primary_key=True),
    Column("checks", Text, nullable=False),  # JSON
    Column("deployment_id", Text, nullable=False),
    Column("since", Double, nullable=False),
)

"""The indexes over a part of a table, for those who make or compare tables; nothing else imports them.

They stand apart from their tables because an index that names a database has SQLAlchemy import all of its drivers:
30 ms at the start of every command.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Index, TextClause, text

from opsqueue.store.schema import BY_PERSON, GATHERED, UNTOLD, deliveries, events, metadata, operations, tellings
from opsqueue.store.schema_alerts import alert_history, alerts
from opsqueue.store.schema_deployments import deployments


def _index(name: str, *columns: ColumnElement[object], where: TextClause) -> None:
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


_index("ix_operations_due", operations.c.due_at, where=text("stage <> 'closed'"))
_index("ix_operations_finished", operations.c.finished_at, where=text("finished_at IS NOT NULL"))
_index("ix_events_by_person", events.c.operation_id, where=text(BY_PERSON))
_index("ix_deliveries_summary", deliveries.c.summary, where=GATHERED)
_index("ix_tellings_due", tellings.c.next_at, where=UNTOLD)
_index("ix_tellings_summary", tellings.c.summary, where=GATHERED)
_index("ix_alerts_active", alerts.c.state, where=text("state <> 'inactive'"))
_index(
    "ix_alert_history_critical",
    alert_history.c.host,
    alert_history.c.at,
    where=text("kind = 'firing' AND severity = 'critical'"),
)
_index("ix_deployments_open", deployments.c.created_at, where=text("finished_at IS NULL"))

__all__ = ["metadata"]

"""The tables. The promises that must hold under concurrency are here, as keys and unique indexes."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

#: A row id that grows; SQLite grows INTEGER keys only.
Serial = BigInteger().with_variant(Integer(), "sqlite")

operations = Table(
    "operations",
    metadata,
    Column("id", Text, primary_key=True),  # also the idempotency key
    Column("request_digest", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("rank", Integer, nullable=False),  # of the priority; 0 is served first
    Column("description", Text, nullable=False),
    Column("parameters", Text, nullable=False),  # JSON
    Column("systems", Text, nullable=False),  # JSON, as asked for
    Column("timeout", Integer, nullable=False),
    Column("retry_count", Integer, nullable=False),
    Column("window", Text),
    Column("channels", Text),  # JSON
    Column("rollback_enabled", Boolean, nullable=False),
    Column("rollout", Text, nullable=False, server_default="{}"),  # JSON
    Column("requested_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("looking", Boolean, nullable=False),
    Column("stage", Text, nullable=False),
    Column("outcome", Text),
    Column("due_at", Double),
    Column("nudged_at", Double, nullable=False),  # when a message was last sent for it
    Column("token", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("hold", Text, nullable=False),  # JSON, the gates that hold it
    Column("cancel_asked", Text, nullable=False),
    Column("digest", Text),
    Column("coordinators", Text, nullable=False),  # JSON
    Column("verdicts", Text, nullable=False),  # JSON
    Column("score", Double),
    Column("findings", Text, nullable=False),  # JSON
    Column("schedule", Text),
    Column("slot", Double),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    UniqueConstraint("schedule", "slot"),  # each slot of a schedule submits once, however many Beats run
)
#: In queries the word must stand as it is: a bound value does not let the planner use the partial index.
OPEN = operations.c.stage != literal_column("'closed'")
Index("ix_operations_created", operations.c.created_at)
Index("ix_operations_type_created", operations.c.type, operations.c.created_at)
Index("ix_operations_outcome_created", operations.c.outcome, operations.c.created_at)
Index("ix_operations_name_created", operations.c.name, operations.c.created_at)

targets = Table(
    "targets",
    metadata,
    Column("operation_id", Text, ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True),
    Column("host", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("place", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("changed", Boolean, nullable=False),
    Column("plan", Text, nullable=False),  # this and the rest: JSON
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("problems", Text, nullable=False),
    Column("steps", Text, nullable=False),
    Column("started_at", Double),
    Column("changed_at", Double),
    Column("verified_at", Double),
    Column("finished_at", Double),
)
Index("ix_targets_host_started", targets.c.host, targets.c.started_at)

shards = Table(
    "shards",
    metadata,
    Column("operation_id", Text, ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("hosts", Text, nullable=False),  # JSON
    Column("queue", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("until", Double, nullable=False),  # end of the lease; 0 when nobody has taken it
    Column("done", Boolean, nullable=False),
    Column("said", Text, nullable=False),  # JSON, what became of hosts that are not settled
    Column("created_at", Double, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("operation_id", Text),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("stage", Text),
    Column("host", Text),
    Column("actor", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Text, nullable=False),  # JSON
)
Index("ix_events_operation", events.c.operation_id, events.c.id)
#: What a person did to an operation after it was asked for; in a query it must stand to the letter, for the index.
BY_PERSON = "kind IN ('acknowledged', 'approved', 'cancel_asked', 'rejected', 'retry_asked')"

locks = Table(
    "locks",
    metadata,
    Column("host", Text, primary_key=True),  # one changing operation on a host
    Column("operation_id", Text, nullable=False),
    Column("taken_at", Double, nullable=False),
)
Index("ix_locks_operation", locks.c.operation_id)

slots = Table(
    "slots",
    metadata,
    Column("pool", Text, primary_key=True),  # `all`, or a type with a limit of its own
    Column("number", Integer, primary_key=True),  # 1 … the limit; the key is the limit's guard
    Column("operation_id", Text, nullable=False),
    Column("taken_at", Double, nullable=False),
)
Index("ix_slots_operation", slots.c.operation_id)

freezes = Table(
    "freezes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),  # JSON
    Column("reason", Text, nullable=False),
    Column("starts_at", Double, nullable=False),
    Column("ends_at", Double),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("lifted_at", Double),
    Column("lifted_by", Text, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("operation_id", Text, ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True),
    Column("event", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("at", Double),
    Column("error", Text, nullable=False),
    Column("fallback", Text, nullable=False, server_default=""),
    Column("note", Text, nullable=False, server_default=""),
    Column("summary", Text, nullable=False, server_default=""),
)
#: As text, for the same words in a partial index and in queries let the planner use it.
GATHERED = text("status = 'summary'")

messages = Table(
    "messages",
    metadata,
    Column("event", Text, primary_key=True),  # also the idempotency key
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("short", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("payload", Text, nullable=False),  # JSON
    Column("alike", Text, nullable=False),
    Column("at", Double, nullable=False),  # when it happened
    Column("created_at", Double, nullable=False),
)
Index("ix_messages_created", messages.c.created_at)

tellings = Table(
    "tellings",
    metadata,
    Column("event", Text, ForeignKey("messages.event", ondelete="CASCADE"), primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("at", Double),
    Column("error", Text, nullable=False),
    Column("fallback", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("summary", Text, nullable=False),
)
UNTOLD = text("status IN ('queued', 'sending', 'failed')")

sends = Table(
    "sends",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("event", Text, primary_key=True),
    Column("at", Double, nullable=False),  # of the last try
    Column("content", Text, nullable=False),  # a digest of what it said
    Column("accepted", Boolean, nullable=False),
)
Index("ix_sends_channel_at", sends.c.channel, sends.c.at)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),  # such as `reconciler`, or `host.NAME` of a host's own worker
    Column("holder", Text, nullable=False),
    Column("until", Double, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("known_since", Double, nullable=False),  # slots before it are not caught up
)

believed = Table(
    "believed",
    metadata,
    Column("name", Text, primary_key=True),  # who went by it
    Column("at", Double, nullable=False),
)

series = Table(
    "series",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("host", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("rolled_until", Double, nullable=False, server_default="0"),  # all before it is summarised in `rollups`
    Column("raw_from", Double, nullable=False, server_default="0"),  # samples before it are forgotten, whole days
    UniqueConstraint("host", "metric"),
)

samples = Table(
    "samples",
    metadata,
    Column("series_id", BigInteger, primary_key=True),
    Column("at", Double, primary_key=True),
    Column("value", Double, nullable=False),
    sqlite_with_rowid=False,  # half the size, and a read of one series touches neighbouring pages
)

rollups = Table(
    "rollups",
    metadata,
    Column("series_id", BigInteger, primary_key=True),
    Column("step", Integer, primary_key=True),  # seconds: 300, 3600 or 86400
    Column("at", Double, primary_key=True),  # its beginning
    Column("low", Double, nullable=False),
    Column("mean", Double, nullable=False),
    Column("high", Double, nullable=False),
    Column("p95", Double, nullable=False),
    Column("count", Integer, nullable=False),
    sqlite_with_rowid=False,
)

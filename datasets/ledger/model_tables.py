"""The tables of models: what is wanted of them and how they fare, where they are loaded, what happened to them."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from datasets.ledger.tables import UtcTime, Words, metadata

model_states = Table(
    "model_states",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("thermal", String(16), nullable=False),
    Column("warm_until", UtcTime),
    Column("changed_at", UtcTime),
    Column("changed_by", Words),
    Column("circuit", String(16), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("last_reason", Words),
    Column("failed_at", UtcTime),
    Column("trips", Integer, nullable=False),
    Column("retry_at", UtcTime),
    Column("try_ends_at", UtcTime),
)

# As a process last told it. One that is gone stays for a while: its counts are worth reading.
model_processes = Table(
    "model_processes",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("host", Text, primary_key=True),
    Column("pid", Integer, primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("device", String(32), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("loaded_at", UtcTime),
    Column("last_used_at", UtcTime),
    Column("requests_per_minute", Float, nullable=False),
    Column("loads", Integer, nullable=False),
    Column("hits", Integer, nullable=False),
    Column("evictions", Integer, nullable=False),
    Column("told_at", UtcTime, nullable=False),
    Index(None, "tenant_id", "model"),
)

model_events = Table(
    "model_events",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("event_id", String(64), primary_key=True),
    Column("run_id", String(64)),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("model", String(128), nullable=False),
    Column("device", String(32), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("seconds", Float),
    Column("bytes", BigInteger),
    Column("detail", Words),
    Column("at", UtcTime, nullable=False),
    Index(None, "tenant_id", "model", "at"),
)

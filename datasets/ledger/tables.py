"""The tables. Every one has the tenant first in its key, so that no row can belong to two."""

import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC. A time without a zone is refused: nobody knows what it means."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise TypeError("the ledger takes times with a zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text of any length. What no database can store as UTF-8 (a file name's undecodable bytes, NUL) is spelled out."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


Json = JSON()  # as text: PostgreSQL's JSONB makes integers of large floats
metadata = MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"})


def _tenant() -> Column[str]:
    return Column("tenant_id", String(63), primary_key=True)


def _run_key(*names: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name=f"fk_{names[0]}_runs")


runs = Table(
    "runs",
    metadata,
    _tenant(),
    Column("run_id", String(64), primary_key=True),
    Column("flow_run_id", String(64)),
    Column("flow", String(64), nullable=False),
    Column("recipe", Words, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("status", String(32), nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("heartbeat_at", UtcTime, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String(64), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("summary", Json),
    Index(None, "tenant_id", "started_at"),
    Index(None, "tenant_id", "status"),
)

items = Table(
    "items",
    metadata,
    _tenant(),
    Column("run_id", String(64), primary_key=True),
    Column("item", Words, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("source", Words, nullable=False),
    Column("asset_digest", String(64)),
    Column("status", String(32)),
    Column("reasons", Json, nullable=False),
    Column("percent", Float),
    _run_key("items"),
)

stage_runs = Table(
    "stage_runs",
    metadata,
    _tenant(),
    Column("stage_run_id", String(64), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("item", Words, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("stage", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("model", Text),
    Column("device", String(32)),
    Column("seconds", Float, nullable=False),
    Column("peak_memory_bytes", BigInteger),
    Column("cached", Boolean, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("skipped", Text),
    Column("error_code", String(64)),
    Column("task_run_id", String(64)),
    Column("started_at", UtcTime, nullable=False),
    _run_key("stage_runs"),
    Index(None, "tenant_id", "run_id", "item"),
    Index(None, "tenant_id", "fingerprint"),
    Index(None, "tenant_id", "started_at"),
)

stage_inputs = Table(
    "stage_inputs",
    metadata,
    _tenant(),
    Column("fingerprint", String(64), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("input_digest", String(64), nullable=False),
    Index(None, "tenant_id", "input_digest"),
)

outputs = Table(
    "outputs",
    metadata,
    _tenant(),
    Column("run_id", String(64), primary_key=True),
    Column("item", Words, primary_key=True),
    Column("path", Words, primary_key=True),
    Column("role", String(32), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("format", String(32), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("extra", Json, nullable=False),
    _run_key("outputs"),
    Index(None, "tenant_id", "sha256"),
)

errors = Table(
    "errors",
    metadata,
    _tenant(),
    Column("error_id", String(64), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("item", Words),
    Column("stage", Text),
    Column("code", String(64), nullable=False),
    Column("message", Words, nullable=False),
    Column("facts", Json, nullable=False),
    Column("at", UtcTime, nullable=False),
    _run_key("errors"),
    Index(None, "tenant_id", "run_id"),
)

lineage_records = Table(
    "lineage_records",
    metadata,
    _tenant(),
    Column("sha256", String(64), primary_key=True),
    Column("core", String(64), primary_key=True),
    Column("sealed", String(64), nullable=False),
    Column("unsigned_sha256", String(64)),
    Column("run_id", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("record", Text, nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    _run_key("lineage_records"),
    Index(None, "tenant_id", "unsigned_sha256"),
    Index(None, "tenant_id", "run_id"),
)

outbox = Table(
    "outbox",
    metadata,
    _tenant(),
    Column("event_id", String(64), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Words),
    Column("delivered_at", UtcTime),
    Index(None, "tenant_id", "delivered_at", "position"),
)

leases = Table(
    "leases",
    metadata,
    _tenant(),
    Column("key", String(128), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("acquired_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)

secret_reads = Table(
    "secret_reads",
    metadata,
    _tenant(),
    Column("read_id", String(64), primary_key=True),
    Column("name", Words, nullable=False),
    Column("version", Integer),
    Column("reader", Words, nullable=False),
    Column("purpose", Words, nullable=False),
    Column("outcome", String(64), nullable=False),
    Column("at", UtcTime, nullable=False),
    Index(None, "tenant_id", "at"),
    Index(None, "tenant_id", "name"),
)


def tenant_tables() -> list[Table]:
    """All tables that hold tenants' rows: every one."""
    return list(metadata.tables.values())


def json_ready(value: Any) -> Any:
    """Facts as JSON can hold them: what is not a plain value becomes its text."""
    if isinstance(value, dict):
        return {storable(str(key)): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return storable(value if isinstance(value, str) else str(value))  # JSON knows neither NaN nor infinity


def storable(text: str) -> str:
    r"""The text, its lone surrogates and NULs written as ``\udcff`` and ``\x00``."""
    return text.encode(errors="backslashreplace").decode().replace("\0", r"\x00")

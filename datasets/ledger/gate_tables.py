"""The tables of guardrails: what gates said, what they stopped and who released it, and what was bought already."""

from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Index, String, Table, Text

from datasets.ledger.tables import Json, UtcTime, Words, metadata

gate_results = Table(
    "gate_results",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("item", Words, primary_key=True),
    Column("step", String(64), primary_key=True),
    Column("gate", String(16), nullable=False),
    Column("picture", String(64), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("released", Boolean, nullable=False),
    Column("measures", Json, nullable=False),
    Column("expectations", Json, nullable=False),
    Column("at", UtcTime, nullable=False),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_gate_results_runs"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("hold_key", String(64), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("item", Words, nullable=False),
    Column("source", Words, nullable=False),
    Column("asset_digest", String(64)),
    Column("gate", String(16), nullable=False),
    Column("picture", String(64), nullable=False),
    Column("reasons", Json, nullable=False),
    Column("stopped_at", UtcTime, nullable=False),
    Column("released_at", UtcTime),
    Column("released_by", Text),
    Column("why", Words),
    Index(None, "tenant_id", "item"),
    Index(None, "tenant_id", "asset_digest"),
)

# Pictures of which something was bought, by what they show. The bands are parts of the hash: of two hashes that differ
# in less bits than there are bands, one band is equal.
looks = Table(
    "looks",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("purchase_key", String(64), primary_key=True),
    Column("wish", String(64), nullable=False),
    Column("phash", String(16), nullable=False),
    Column("signature", Text, nullable=False),
    *(Column(f"band_{number}", String(4), nullable=False) for number in range(4)),
    *(Index(None, "tenant_id", "wish", f"band_{number}") for number in range(4)),
)

"""The tables of catalogues: what is known of each product from run to run, and what every run found changed."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKeyConstraint, Index, String, Table, Text

from datasets.ledger.tables import Json, UtcTime, Words, metadata

catalogues = Table(
    "catalogues",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("catalogue", String(63), primary_key=True),
    Column("source", Words, nullable=False),
    Column("facts", Json, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("finished_at", UtcTime, nullable=False),
)

catalogue_rows = Table(
    "catalogue_rows",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("catalogue", String(63), primary_key=True),
    Column("sku_key", Words, primary_key=True),
    Column("sku", Words, nullable=False),
    Column("item", Words, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("image", Words, nullable=False),
    Column("fetched_url", Words),
    Column("etag", Words),
    Column("last_modified", Text),
    Column("asset", String(64)),
    Column("identity", String(64)),
    Column("status", String(32), nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("change", String(16), nullable=False),
    Column("reasons", Json, nullable=False),
    Column("outputs", Json, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("retired_at", UtcTime),
    Index(None, "tenant_id", "catalogue", "run_id"),
)

catalogue_changes = Table(
    "catalogue_changes",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("line", BigInteger, primary_key=True),
    Column("sku_key", Words, primary_key=True),
    Column("sku", Words),
    Column("change", String(16), nullable=False),
    Column("status", String(32), nullable=False),
    Column("reasons", Json, nullable=False),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_catalogue_changes_runs"),
)

"""The table of routing: which model was chosen for what in a run, with all that the choice was made from."""

from sqlalchemy import Column, ForeignKeyConstraint, Integer, String, Table

from datasets.ledger.tables import Json, UtcTime, Words, metadata

routing_decisions = Table(
    "routing_decisions",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("item", Words, primary_key=True),
    Column("capability", String(32), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("model", String(128), nullable=False),
    Column("licence", Words, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("reason", Words, nullable=False),
    Column("record", Json, nullable=False),
    Column("at", UtcTime, nullable=False),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_routing_decisions_runs"),
)

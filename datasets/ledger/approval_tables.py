"""The tables of approvals: what a run asked a human before it spends, and which purchases each asking was about."""

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Integer, String, Table

from datasets.ledger.tables import UtcTime, Words, metadata

approvals = Table(
    "approvals",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("form", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("purchases", Integer, nullable=False),
    Column("asked_micro_usd", BigInteger, nullable=False),
    Column("budget_micro_usd", BigInteger),
    Column("decided_by", Words),
    Column("asked_at", UtcTime, nullable=False),
    Column("decided_at", UtcTime),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_approvals_runs"),
)

approval_purchases = Table(
    "approval_purchases",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("purchase_key", String(64), primary_key=True),
    Column("position", Integer),
    Column("item", Words, nullable=False),
    Column("micro_usd", BigInteger, nullable=False),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_approval_purchases_runs"),
)

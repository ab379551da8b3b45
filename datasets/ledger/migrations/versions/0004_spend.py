"""Money: purchases, budgets, avoided costs, and the circuits of services. Tenants are kept apart as in the others."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True)
JSON = sa.JSON()
TABLES = ("purchases", "budgets", "avoided", "circuits")
OWN = "tenant_id = nullif(current_setting('app.tenant_id', true), '')"
MOMENTS = ("sent", "resent", "unknown", "looked_up", "settled", "failed_free", "void")


def upgrade() -> None:
    _purchases()
    op.create_table(
        "budgets",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("scope", sa.String(length=80), nullable=False),
        sa.Column("cap_micro_usd", sa.BigInteger(), nullable=True),
        sa.Column("held_micro_usd", sa.BigInteger(), nullable=False),
        sa.Column("spent_micro_usd", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "scope", name=op.f("pk_budgets")),
    )
    op.create_table(
        "avoided",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("deliverable_key", sa.String(length=64), nullable=False),
        sa.Column("entry", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("micro_usd", sa.BigInteger(), nullable=False),
        sa.Column("evidence", JSON, nullable=False),
        sa.Column("at", UTC, nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "item", "deliverable_key", "entry", name=op.f("pk_avoided")),
    )
    op.create_index(op.f("ix_avoided_tenant_id_day"), "avoided", ["tenant_id", "day"], unique=False)
    op.create_table(
        "circuits",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("service", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("failures", JSON, nullable=False),
        sa.Column("last_kind", sa.String(length=32), nullable=True),
        sa.Column("trips", sa.Integer(), nullable=False),
        sa.Column("opened_at", UTC, nullable=True),
        sa.Column("retry_at", UTC, nullable=True),
        sa.Column("probe", sa.Text(), nullable=True),
        sa.Column("probe_expires_at", UTC, nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "service", name=op.f("pk_circuits")),
    )
    if op.get_bind().dialect.name == "postgresql":
        _keep_tenants_apart()
    else:
        _keep_entries()


def _purchases() -> None:
    op.create_table(
        "purchases",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("purchase_key", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("adapter", sa.Text(), nullable=False),
        sa.Column("adapter_version", sa.Text(), nullable=False),
        sa.Column("price_micro_usd", sa.BigInteger(), nullable=False),
        sa.Column("price_list", sa.Text(), nullable=False),
        sa.Column("held_micro_usd", sa.BigInteger(), nullable=False),
        sa.Column("charged_micro_usd", sa.BigInteger(), nullable=True),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("policy", sa.String(length=16), nullable=False),
        sa.Column("guard", sa.Boolean(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sendings", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=36), nullable=False),
        sa.Column("provider_reference", sa.Text(), nullable=True),
        sa.Column("response_digest", sa.String(length=64), nullable=True),
        sa.Column("response_media_type", sa.Text(), nullable=True),
        sa.Column("response_path", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_facts", JSON, nullable=True),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("holder_run_id", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", UTC, nullable=True),
        sa.Column("intent_at", UTC, nullable=False),
        *(sa.Column(f"{state}_at", UTC, nullable=True) for state in MOMENTS),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "purchase_key", name=op.f("pk_purchases")),
    )
    for column in ("run_id", "state", "day"):
        op.create_index(op.f(f"ix_purchases_tenant_id_{column}"), "purchases", ["tenant_id", column], unique=False)


def _keep_tenants_apart() -> None:
    """Policies that admit, and a restrictive one that binds them; none admits a change of what was avoided."""
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY {table}_tenant ON {table} AS RESTRICTIVE USING ({OWN}) WITH CHECK ({OWN})")
        if table == "avoided":
            op.execute(f"CREATE POLICY {table}_read ON {table} FOR SELECT USING ({OWN})")
            op.execute(f"CREATE POLICY {table}_add ON {table} FOR INSERT WITH CHECK ({OWN})")
        else:
            op.execute(f"CREATE POLICY {table}_use ON {table} USING ({OWN}) WITH CHECK ({OWN})")


def _keep_entries() -> None:
    """The same for what was avoided where the database knows no policies."""
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER avoided_no_{change.lower()} BEFORE {change} ON avoided "
            "BEGIN SELECT RAISE(ABORT, 'entries of avoided are only added'); END"
        )


def downgrade() -> None:
    for table in TABLES:  # with their policies and triggers
        op.drop_table(table)

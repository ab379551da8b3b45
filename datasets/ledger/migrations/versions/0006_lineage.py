"""Where every published file came from, and the events about runs that others still have to hear of."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True)
TABLES = ("lineage_records", "outbox")
OWN = "tenant_id = nullif(current_setting('app.tenant_id', true), '')"


def upgrade() -> None:
    op.create_table(
        "lineage_records",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("core", sa.String(64), nullable=False),
        sa.Column("sealed", sa.String(64), nullable=False),
        sa.Column("unsigned_sha256", sa.String(64), nullable=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("recorded_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_lineage_records_runs"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "sha256", "core", name="pk_lineage_records"),
    )
    _index("lineage_records", "unsigned_sha256")
    _index("lineage_records", "run_id")
    op.create_table(
        "outbox",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("recorded_at", UTC, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("delivered_at", UTC, nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "event_id", name="pk_outbox"),
    )
    _index("outbox", "delivered_at", "position")
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            _keep_apart(table)


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_tenant_id_{'_'.join(columns)}", table, ["tenant_id", *columns])


def _keep_apart(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {table}_use ON {table} USING ({OWN}) WITH CHECK ({OWN})")
    op.execute(f"CREATE POLICY {table}_tenant ON {table} AS RESTRICTIVE USING ({OWN}) WITH CHECK ({OWN})")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)

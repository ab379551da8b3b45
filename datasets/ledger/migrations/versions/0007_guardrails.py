"""What gates said, what they stopped and who released it, and what the pictures look like that were paid for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True)
TABLES = ("gate_results", "quarantine", "looks")
BANDS = ("band_0", "band_1", "band_2", "band_3")
OWN = "tenant_id = nullif(current_setting('app.tenant_id', true), '')"


def upgrade() -> None:
    _gate_results()
    _quarantine()
    _looks()
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            _keep_apart(table)


def _gate_results() -> None:
    op.create_table(
        "gate_results",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("step", sa.String(64), nullable=False),
        sa.Column("gate", sa.String(16), nullable=False),
        sa.Column("picture", sa.String(64), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("measures", sa.JSON(), nullable=False),
        sa.Column("expectations", sa.JSON(), nullable=False),
        sa.Column("at", UTC, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_gate_results_runs"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "item", "step", name="pk_gate_results"),
    )


def _quarantine() -> None:
    op.create_table(
        "quarantine",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("hold_key", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("asset_digest", sa.String(64), nullable=True),
        sa.Column("gate", sa.String(16), nullable=False),
        sa.Column("picture", sa.String(64), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("stopped_at", UTC, nullable=False),
        sa.Column("released_at", UTC, nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "hold_key", name="pk_quarantine"),
    )
    _index("quarantine", "item")
    _index("quarantine", "asset_digest")


def _looks() -> None:
    op.create_table(
        "looks",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("purchase_key", sa.String(64), nullable=False),
        sa.Column("wish", sa.String(64), nullable=False),
        sa.Column("phash", sa.String(16), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        *(sa.Column(band, sa.String(4), nullable=False) for band in BANDS),
        sa.PrimaryKeyConstraint("tenant_id", "purchase_key", name="pk_looks"),
    )
    for band in BANDS:
        _index("looks", "wish", band)


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

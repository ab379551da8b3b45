"""What is known of a catalogue's products from run to run, and what every run found changed."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True)
TABLES = ("catalogues", "catalogue_rows", "catalogue_changes")
INDEX = "ix_catalogue_rows_tenant_id_catalogue_run_id"
OWN = "tenant_id = nullif(current_setting('app.tenant_id', true), '')"


def upgrade() -> None:
    _catalogues()
    _rows()
    _changes()
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            _keep_apart(table)


def _catalogues() -> None:
    op.create_table(
        "catalogues",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("catalogue", sa.String(63), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("finished_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "catalogue", name="pk_catalogues"),
    )


def _rows() -> None:
    op.create_table(
        "catalogue_rows",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("catalogue", sa.String(63), nullable=False),
        sa.Column("sku_key", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("fetched_url", sa.Text()),
        sa.Column("etag", sa.Text()),
        sa.Column("last_modified", sa.Text()),
        sa.Column("asset", sa.String(64)),
        sa.Column("identity", sa.String(64)),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("change", sa.String(16), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("changed_at", UTC, nullable=False),
        sa.Column("retired_at", UTC),
        sa.PrimaryKeyConstraint("tenant_id", "catalogue", "sku_key", name="pk_catalogue_rows"),
    )
    op.create_index(INDEX, "catalogue_rows", ["tenant_id", "catalogue", "run_id"])


def _changes() -> None:
    op.create_table(
        "catalogue_changes",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("sku_key", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text()),
        sa.Column("change", sa.String(16), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_catalogue_changes_runs"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "line", "sku_key", name="pk_catalogue_changes"),
    )


def _keep_apart(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {table}_use ON {table} USING ({OWN}) WITH CHECK ({OWN})")
    op.execute(f"CREATE POLICY {table}_tenant ON {table} AS RESTRICTIVE USING ({OWN}) WITH CHECK ({OWN})")


def downgrade() -> None:
    op.drop_index(INDEX, "catalogue_rows")
    for table in reversed(TABLES):
        op.drop_table(table)

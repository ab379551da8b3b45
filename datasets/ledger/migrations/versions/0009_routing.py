"""Which model was chosen for what in a run, and a way to the stages of the last days."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLE = "routing_decisions"
INDEX = "ix_stage_runs_tenant_id_started_at"
OWN = "tenant_id = nullif(current_setting('app.tenant_id', true), '')"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("capability", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_routing_decisions_runs"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "item", "capability", "position", name="pk_routing_decisions"),
    )
    op.create_index(INDEX, "stage_runs", ["tenant_id", "started_at"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY {TABLE}_use ON {TABLE} USING ({OWN}) WITH CHECK ({OWN})")
        op.execute(f"CREATE POLICY {TABLE}_tenant ON {TABLE} AS RESTRICTIVE USING ({OWN}) WITH CHECK ({OWN})")


def downgrade() -> None:
    op.drop_index(INDEX, "stage_runs")
    op.drop_table(TABLE)

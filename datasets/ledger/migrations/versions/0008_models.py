"""What is wanted of models and how they fare, where they are loaded, what happened to them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True)
TABLES = ("model_states", "model_processes", "model_events")
OWN = "tenant_id = nullif(current_setting('app.tenant_id', true), '')"


def upgrade() -> None:
    _states()
    _processes()
    _events()
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            _keep_apart(table)


def _states() -> None:
    op.create_table(
        "model_states",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("thermal", sa.String(16), nullable=False),
        sa.Column("warm_until", UTC, nullable=True),
        sa.Column("changed_at", UTC, nullable=True),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.Column("circuit", sa.String(16), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_reason", sa.Text(), nullable=True),
        sa.Column("failed_at", UTC, nullable=True),
        sa.Column("trips", sa.Integer(), nullable=False),
        sa.Column("retry_at", UTC, nullable=True),
        sa.Column("try_ends_at", UTC, nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "model", name="pk_model_states"),
    )


def _processes() -> None:
    op.create_table(
        "model_processes",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("device", sa.String(32), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("loaded_at", UTC, nullable=True),
        sa.Column("last_used_at", UTC, nullable=True),
        sa.Column("requests_per_minute", sa.Float(), nullable=False),
        sa.Column("loads", sa.Integer(), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.Column("evictions", sa.Integer(), nullable=False),
        sa.Column("told_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "host", "pid", "model", "device", name="pk_model_processes"),
    )
    _index("model_processes", "model")


def _events() -> None:
    op.create_table(
        "model_events",
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("device", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "event_id", name="pk_model_events"),
    )
    _index("model_events", "model", "at")


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

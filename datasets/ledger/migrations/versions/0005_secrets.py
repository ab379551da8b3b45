"""Who read which credential: rows that are added and never changed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLE = "secret_reads"
OWN = "tenant_id = nullif(current_setting('app.tenant_id', true), '')"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("read_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "read_id", name=op.f("pk_secret_reads")),
    )
    op.create_index(op.f("ix_secret_reads_tenant_id_at"), TABLE, ["tenant_id", "at"], unique=False)
    op.create_index(op.f("ix_secret_reads_tenant_id_name"), TABLE, ["tenant_id", "name"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        _bind_on_postgresql()
    else:
        _bind_on_sqlite()


def _bind_on_postgresql() -> None:
    """Without a policy that admits updates and deletions, forced row level security lets them find no row."""
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {TABLE}_see ON {TABLE} FOR SELECT USING ({OWN})")
    op.execute(f"CREATE POLICY {TABLE}_add ON {TABLE} FOR INSERT WITH CHECK ({OWN})")
    op.execute(f"CREATE POLICY {TABLE}_tenant ON {TABLE} AS RESTRICTIVE USING ({OWN}) WITH CHECK ({OWN})")


def _bind_on_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {TABLE}_no_{change.lower()} BEFORE {change} ON {TABLE} "
            f"BEGIN SELECT RAISE(ABORT, '{TABLE} takes new rows only'); END"
        )


def downgrade() -> None:
    op.drop_table(TABLE)  # with its policies or triggers

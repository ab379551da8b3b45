"""On PostgreSQL, rows are kept apart by the database itself: forced row level security on every table of tenants."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = ("runs", "items", "stage_runs", "stage_inputs", "outputs", "errors", "leases")
OWN = "tenant_id = nullif(current_setting('app.tenant_id', true), '')"


def upgrade() -> None:
    """A policy that admits, and a restrictive one that binds whatever others may be added."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY {table}_use ON {table} USING ({OWN}) WITH CHECK ({OWN})")
        op.execute(f"CREATE POLICY {table}_tenant ON {table} AS RESTRICTIVE USING ({OWN}) WITH CHECK ({OWN})")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in TABLES:
        op.execute(f"DROP POLICY {table}_tenant ON {table}")
        op.execute(f"DROP POLICY {table}_use ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")

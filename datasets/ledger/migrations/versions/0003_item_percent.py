"""How far an item is, for whoever polls the ledger while a long clip is made."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A share of the way, from 0 to 100; nothing is known of items of earlier versions."""
    op.add_column("items", sa.Column("percent", sa.Float(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("items") as table:
        table.drop_column("percent")

"""The first ledger: runs, items, stages, lineage, outputs, errors, leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UTC = sa.DateTime(timezone=True)
JSON = sa.JSON()


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("acquired_at", UTC, nullable=False),
        sa.Column("expires_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_leases")),
    )
    op.create_table(
        "runs",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("flow_run_id", sa.String(length=64), nullable=True),
        sa.Column("flow", sa.String(length=64), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("started_at", UTC, nullable=False),
        sa.Column("finished_at", UTC, nullable=True),
        sa.Column("heartbeat_at", UTC, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("summary", JSON, nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_tenant_id_started_at"), "runs", ["tenant_id", "started_at"], unique=False)
    op.create_index(op.f("ix_runs_tenant_id_status"), "runs", ["tenant_id", "status"], unique=False)
    op.create_table(
        "stage_inputs",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("input_digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "fingerprint", "position", name=op.f("pk_stage_inputs")),
    )
    op.create_index(
        op.f("ix_stage_inputs_tenant_id_input_digest"), "stage_inputs", ["tenant_id", "input_digest"], unique=False
    )
    op.create_table(
        "errors",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("error_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("item", sa.Text(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("at", UTC, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_errors_runs"),
        sa.PrimaryKeyConstraint("tenant_id", "error_id", name=op.f("pk_errors")),
    )
    op.create_index(op.f("ix_errors_tenant_id_run_id"), "errors", ["tenant_id", "run_id"], unique=False)
    op.create_table(
        "items",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("asset_digest", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=True),
        sa.Column("reasons", JSON, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_items_runs"),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "item", name=op.f("pk_items")),
    )
    op.create_table(
        "outputs",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(length=32), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("extra", JSON, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_outputs_runs"),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "item", "path", name=op.f("pk_outputs")),
    )
    op.create_index(op.f("ix_outputs_tenant_id_sha256"), "outputs", ["tenant_id", "sha256"], unique=False)
    op.create_table(
        "stage_runs",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("stage_run_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("device", sa.String(length=32), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("task_run_id", sa.String(length=64), nullable=True),
        sa.Column("started_at", UTC, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "run_id"], ["runs.tenant_id", "runs.run_id"], name="fk_stage_runs_runs"),
        sa.PrimaryKeyConstraint("tenant_id", "stage_run_id", name=op.f("pk_stage_runs")),
    )
    op.create_index(
        op.f("ix_stage_runs_tenant_id_fingerprint"), "stage_runs", ["tenant_id", "fingerprint"], unique=False
    )
    op.create_index(
        op.f("ix_stage_runs_tenant_id_run_id_item"), "stage_runs", ["tenant_id", "run_id", "item"], unique=False
    )


def downgrade() -> None:
    for table in ("stage_runs", "outputs", "items", "errors", "stage_inputs", "runs", "leases"):
        op.drop_table(table)

"""Where streams of changes stand, and the first copies of their tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = "etl_sync"


def upgrade() -> None:
    op.create_table(
        "cdc_pipeline",
        sa.Column("sync_key", sa.String(250), primary_key=True),
        sa.Column("slot", sa.Text, nullable=False),
        sa.Column("publication", sa.Text, nullable=False),
        sa.Column("applied_lsn", sa.Text, nullable=False),
        sa.Column("committed_lsn", sa.Text, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "cdc_table",
        sa.Column("sync_key", sa.String(250), sa.ForeignKey(f"{SCHEMA}.cdc_pipeline.sync_key"), primary_key=True),
        sa.Column("source_table", sa.String(250), primary_key=True),
        sa.Column("target", sa.String(250), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("last_key", sa.JSON),
        sa.Column("copied_until", sa.Text),
        schema=SCHEMA,
    )

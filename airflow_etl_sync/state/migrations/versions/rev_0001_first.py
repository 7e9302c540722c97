"""The first state tables: watermark, sync_run, extracted_chunk, loaded_chunk."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "etl_sync"


def _counts() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in ("inserted", "updated", "skipped", "errors")]


def upgrade() -> None:
    op.create_table(
        "watermark",
        sa.Column("sync_key", sa.String(250), primary_key=True),
        sa.Column("cursor_value", sa.Text),
        sa.Column("cursor_type", sa.String(20)),
        sa.Column("last_sync", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "sync_run",
        sa.Column("extraction_id", sa.String(32), primary_key=True),
        sa.Column("sync_key", sa.String(250), nullable=False, index=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("dag_id", sa.String(250), nullable=False),
        sa.Column("task_id", sa.String(250), nullable=False),
        sa.Column("run_id", sa.String(250), nullable=False),
        sa.Column("map_index", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("watermark_version", sa.Integer, nullable=False),
        sa.Column("cursor_type", sa.String(20)),
        sa.Column("low", sa.Text),
        sa.Column("high", sa.Text),
        sa.Column("below", sa.Text),
        sa.Column("fences", sa.JSON, nullable=False),
        sa.Column("protection", sa.Text, nullable=False),
        sa.Column("staging_uri", sa.Text),
        sa.Column("host", sa.Text),
        sa.Column("is_resumed", sa.Boolean, nullable=False),
        sa.Column("is_overtaken", sa.Boolean, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("extracted_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("rows_extracted", sa.BigInteger, nullable=False),
        *_counts(),
        schema=SCHEMA,
    )
    op.create_table(
        "extracted_chunk",
        sa.Column("extraction_id", sa.String(32), sa.ForeignKey(f"{SCHEMA}.sync_run.extraction_id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("writer", sa.String(8), nullable=False),
        sa.Column("resume_after", sa.JSON, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "loaded_chunk",
        sa.Column("extraction_id", sa.String(32), sa.ForeignKey(f"{SCHEMA}.sync_run.extraction_id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("target", sa.String(250), primary_key=True),
        *_counts(),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )

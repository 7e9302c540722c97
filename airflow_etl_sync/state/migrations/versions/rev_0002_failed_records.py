"""Failed records, schema changes and watermark changes; the columns that a run read, the rows that it deleted."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "etl_sync"
RUN = f"{SCHEMA}.sync_run.extraction_id"


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.add_column("sync_run", sa.Column("attempt", sa.Integer, nullable=False, server_default="1"), schema=SCHEMA)
    op.add_column("sync_run", sa.Column("columns", sa.JSON, nullable=False, server_default="{}"), schema=SCHEMA)
    op.add_column("sync_run", sa.Column("deleted", sa.BigInteger, nullable=False, server_default="0"), schema=SCHEMA)
    op.create_table(
        "failed_record",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("sync_key", sa.String(250), nullable=False),
        sa.Column("target", sa.String(250), nullable=False),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("extraction_id", sa.String(32), sa.ForeignKey(RUN), nullable=False, index=True),
        sa.Column("key", sa.JSON, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("types", sa.JSON, nullable=False),
        sa.Column("load_rules", sa.JSON, nullable=False),
        sa.Column("sqlstate", sa.String(5)),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        _moment("failed_at"),
        _moment("closed_at", nullable=True),
        sa.Column("closed_by", sa.String(20)),
        schema=SCHEMA,
    )
    op.create_index(
        "failed_record_open",
        "failed_record",
        ["sync_key", "target", "identity"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
        schema=SCHEMA,
    )
    op.create_table(
        "schema_change",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("extraction_id", sa.String(32), sa.ForeignKey(RUN), nullable=False, index=True),
        sa.Column("place", sa.String(250), nullable=False),
        sa.Column("column", sa.Text, nullable=False),
        sa.Column("change", sa.String(20), nullable=False),
        sa.Column("old_type", sa.Text),
        sa.Column("new_type", sa.Text),
        _moment("noticed_at"),
        schema=SCHEMA,
    )
    op.create_table(
        "watermark_change",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("sync_key", sa.String(250), nullable=False, index=True),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("old_value", sa.Text),
        sa.Column("old_type", sa.String(20)),
        sa.Column("new_value", sa.Text),
        sa.Column("new_type", sa.String(20)),
        sa.Column("changed_by", sa.String(250), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("request", sa.Text),
        _moment("changed_at"),
        schema=SCHEMA,
    )

"""By which connection a sync's table elsewhere is reached, so that its failed records can be replayed by name alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SCHEMA = "etl_sync"


def upgrade() -> None:
    op.create_table(
        "loaded_place",
        sa.Column("sync_key", sa.String(250), primary_key=True),
        sa.Column("target", sa.String(250), primary_key=True),
        sa.Column("conn_id", sa.String(250), nullable=False),
        sa.Column("dag_id", sa.String(250), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )

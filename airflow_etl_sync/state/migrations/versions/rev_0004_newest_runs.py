"""The newest runs of a sync are found without reading all of its runs."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = "etl_sync"


def upgrade() -> None:
    op.create_index("sync_run_newest", "sync_run", ["sync_key", "started_at"], schema=SCHEMA)
    for name in ("sync_key", "started_at"):  # with one on times alone, a quiet sync is sought among all others' runs
        op.drop_index(f"ix_etl_sync_sync_run_{name}", "sync_run", schema=SCHEMA)

"""Alembic revisions of the state tables; a released revision is never edited, a change is a new file."""

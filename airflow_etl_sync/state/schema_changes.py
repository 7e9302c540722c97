"""What changed in the columns, told on the run that met it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timezone

from sqlalchemy import Connection, exists, insert, select

from airflow_etl_sync.core.contract import SchemaChange
from airflow_etl_sync.state.tables import schema_change

log = logging.getLogger(__name__)


def record(connection: Connection, extraction_id: str, changes: Iterable[SchemaChange]) -> None:
    """Note changes on a run, each once: its other chunks may have met it as well."""
    for change in changes:
        same = (
            (schema_change.c.extraction_id == extraction_id)
            & (schema_change.c.place == change.place)
            & (schema_change.c.column == change.column)
            & (schema_change.c.change == change.change)
        )
        if connection.scalar(select(exists().where(same))):
            continue
        values = {"extraction_id": extraction_id, "noticed_at": datetime.now(timezone.utc), **asdict(change)}
        connection.execute(insert(schema_change).values(**values))
        log.warning("Schema of %s: column %s", change.place, change)

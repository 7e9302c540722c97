"""By which connection a sync's table away from the state tables was reached last: whoever replays is told none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import Connection, or_, select
from sqlalchemy.dialects.postgresql import insert

from airflow_etl_sync.state.failed_records import open_of
from airflow_etl_sync.state.tables import failed_record, loaded_place


@dataclass(frozen=True, slots=True)
class LoadedPlace:
    """A table elsewhere, and who loaded it.

    :param target: the table as the ledger knows it
    :param conn_id: the Airflow connection that led there
    :param dag_id: the DAG whose run went by it
    """

    target: str
    conn_id: str
    dag_id: str


def note(connection: Connection, sync_key: str, place: LoadedPlace) -> None:
    """Write it down; nothing is written where the last run has come the same way."""
    found = select(loaded_place.c.conn_id, loaded_place.c.dag_id).where(
        loaded_place.c.sync_key == sync_key, loaded_place.c.target == place.target
    )
    if connection.execute(found).one_or_none() == (place.conn_id, place.dag_id):
        return
    way = {"conn_id": place.conn_id, "dag_id": place.dag_id, "noted_at": datetime.now(timezone.utc)}
    first = insert(loaded_place).values(sync_key=sync_key, target=place.target, **way)
    is_other = or_(loaded_place.c.conn_id != place.conn_id, loaded_place.c.dag_id != place.dag_id)
    key = [loaded_place.c.sync_key, loaded_place.c.target]
    connection.execute(first.on_conflict_do_update(index_elements=key, set_=way, where=is_other))


def of_open_records(connection: Connection, sync_key: str) -> dict[str, LoadedPlace]:
    """The places that open records of a sync are for, by target; those left out of which none is noted."""
    targets = select(failed_record.c.target).where(open_of(sync_key))
    rows = connection.execute(
        select(loaded_place)
        .where(loaded_place.c.sync_key == sync_key, loaded_place.c.target.in_(targets))
        .order_by(loaded_place.c.target)
    )
    return {row.target: LoadedPlace(row.target, row.conn_id, row.dag_id) for row in rows}

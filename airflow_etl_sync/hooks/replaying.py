"""From the target of failed records to the destination that they are for, by the connection that runs went by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from airflow_etl_sync.errors import ConfigurationError, DestinationError, explaining
from airflow_etl_sync.hooks.destinations import destination_at
from airflow_etl_sync.state import loaded_places, tables
from airflow_etl_sync.state.loaded_places import LoadedPlace
from airflow_etl_sync.systems.base import is_elsewhere, table_in

if TYPE_CHECKING:
    from airflow_etl_sync.systems.base import TypedDestination
    from airflow_etl_sync.systems.postgres.access import PostgresAccess


def places_of(state: PostgresAccess, sync_key: str) -> dict[str, LoadedPlace]:
    """The places away from the state that open records of a sync are for, by target, as far as a run has noted them."""
    tables.ensure(state.engine())
    with explaining(DestinationError, "read the noted places"), state.engine().connect() as connection:
        return loaded_places.of_open_records(connection, sync_key)


def destinations_by(state: PostgresAccess, places: Mapping[str, LoadedPlace]) -> Callable[[str], TypedDestination]:
    """What gives the destination of a target: beside the state, or where a noted connection leads.

    :param places: what :func:`places_of` gave
    """

    def destination_of(target: str) -> TypedDestination:
        from airflow_etl_sync.systems.postgres.destination import PostgresDestination

        if not is_elsewhere(target):
            return PostgresDestination(state, table_in(target))
        if target not in places:
            raise ConfigurationError(
                f"Failed records are for {target!r}, and by which connection that is reached no run has noted yet, so "
                "nothing is replayed: let the sync run once, or use a FailedRecordsOperator."
            )
        return _destination_at(state, places[target])

    return destination_of


def _destination_at(state: PostgresAccess, place: LoadedPlace) -> TypedDestination:
    """The destination behind a noted connection.

    :raises ConfigurationError: where the connection has gone, or leads elsewhere now
    """
    destination = destination_at(place.conn_id, table_in(place.target), state.engine())
    if destination.target != place.target:
        raise ConfigurationError(
            f"Failed records are for {place.target!r}, and the connection {place.conn_id!r}, by which runs have loaded "
            "that, leads to another place now, so nothing is replayed: correct the connection, or use a "
            "FailedRecordsOperator with one that leads there."
        )
    return destination

"""What people do on the page: rewind, reset, replay. The steps are those of operators and command line.

A replay is done here, not handed to a DAG: it needs no DAG that somebody would have to deploy first, it is answered at
once, and :data:`MOST_RECORDS` keeps it to what an API server does in a moment. Who has more presses again, or runs
``etl-sync failed replay``.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from airflow_etl_sync.core.model import Counts, CursorValue, RunIdentity
from airflow_etl_sync.core.watermark_change import ChangeRequest, Signature, WatermarkChange
from airflow_etl_sync.hooks.replaying import destinations_by
from airflow_etl_sync.journey import failed_records, watermark
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.plugin import audit
from airflow_etl_sync.plugin.places import access_of
from airflow_etl_sync.state import loaded_places, overview
from airflow_etl_sync.state.loaded_places import LoadedPlace

MOST_RECORDS = 1_000
REPLAYED_BY = "etl-sync page"
_LONGEST_NAME = 200


def preview_rewind(conn_id: str, sync_key: str, back: str, value: str) -> tuple[CursorValue | None, CursorValue | None]:
    """Where the watermark stands and where it would stand; nothing is changed.

    :param back: how far back: an ISO 8601 duration, or a number
    :param value: or the value to go back to
    :raises EtlSyncError: where the rewind would be refused
    """
    request = ChangeRequest(
        sync_key=sync_key,
        action="rewind",
        value=arguments.as_cursor_text("value", value),
        back=None if arguments.is_absent(back) else arguments.as_lag("back", back),
    )
    return watermark.preview(access_of(conn_id).engine(), request)


def rewind(conn_id: str, sync_key: str, to: str, signature: Signature) -> WatermarkChange:
    """Let the next run start at a lower value.

    :raises EtlSyncError: where it is refused; then nothing is changed
    """
    request = ChangeRequest(sync_key=sync_key, action="rewind", value=arguments.as_cursor_text("value", to))
    return _change(conn_id, request, signature)


def reset(conn_id: str, sync_key: str, signature: Signature) -> WatermarkChange:
    """Let the next run start as the first did.

    :raises EtlSyncError: where it is refused; then nothing is changed
    """
    return _change(conn_id, ChangeRequest(sync_key=sync_key, action="reset"), signature)


def places_of_records(conn_id: str, sync_key: str) -> dict[str, LoadedPlace]:
    """Where open failed records of a sync are for and which connection leads there, by target.

    Those in the state's own database are not among them. Nothing is changed, nor are state tables made or migrated.

    :raises EtlSyncError: where the state tables cannot be read
    """
    try:
        with overview.reading(access_of(conn_id).engine()) as connection:
            return loaded_places.of_open_records(connection, sync_key)
    except overview.NothingRecordedError:
        return {}


def replay(conn_id: str, sync_key: str, places: Mapping[str, LoadedPlace], signature: Signature) -> Counts:
    """Load the oldest failed records once more, at most :data:`MOST_RECORDS`.

    :param places: where it may load, as :func:`places_of_records` gave them
    :raises EtlSyncError: where their table cannot be loaded
    """
    access = access_of(conn_id)
    identity = RunIdentity(REPLAYED_BY, signature.by[:_LONGEST_NAME], uuid4().hex)
    names = {"conn_id": conn_id, "sync_key": sync_key, "reason": signature.reason}
    if places:
        names["destination_conn_id"] = ", ".join(sorted({place.conn_id for place in places.values()}))
    audit.note("replay", signature.by, **names)
    return failed_records.replay_all(
        destinations_by(access, places), access.engine(), sync_key, identity, MOST_RECORDS
    )  # fmt: skip


def _change(conn_id: str, request: ChangeRequest, signature: Signature) -> WatermarkChange:
    made = watermark.change(access_of(conn_id).engine(), request, signature)
    audit.note(request.action, signature.by, conn_id=conn_id, sync_key=request.sync_key, reason=signature.reason)
    return made

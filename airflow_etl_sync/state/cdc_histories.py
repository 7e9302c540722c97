"""From where on the histories of a stream of changes hold every change; kept with the stream's other notes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection

from airflow_etl_sync.core.changes import Lsn, lsn_of, lsn_text
from airflow_etl_sync.state import cdc_pipelines
from airflow_etl_sync.state.cdc_pipelines import Pipeline

_NOTES = "histories"


@dataclass(frozen=True, slots=True)
class HistoryState:
    """What is known of one history.

    :param since: the position behind which no change is missing
    :param copied_at: the position of the first copy's rows; None where it has not begun
    :param read_at: when that was, by the source's clock
    """

    since: Lsn
    copied_at: Lsn | None = None
    read_at: str | None = None


def histories_of(pipeline: Pipeline) -> dict[str, HistoryState]:
    """The stream's histories, by their source tables."""
    return {
        source: HistoryState(
            since=lsn_of(notes["since"]),
            copied_at=lsn_of(notes["copied_at"]) if "copied_at" in notes else None,
            read_at=notes.get("read_at"),
        )
        for source, notes in pipeline.metadata.get(_NOTES, {}).items()
    }


def begin(connection: Connection, pipeline: Pipeline, sources: Collection[str]) -> list[str]:
    """Let tables be histories from where the stream stands; those that are not so yet, which are returned.

    Others that were histories are none any more: nobody appends their changes meanwhile.

    :param pipeline: locked
    """
    known: dict[str, dict[str, str]] = dict(pipeline.metadata.get(_NOTES, {}))
    new = [source for source in sources if source not in known]
    notes = {source: known.get(source, {"since": lsn_text(pipeline.applied)}) for source in sources}
    if notes != known:
        cdc_pipelines.set_metadata(connection, pipeline.sync_key, {**pipeline.metadata, _NOTES: notes})
    return new


def begin_copy(connection: Connection, sync_key: str, source: str, at: Lsn, read_at: str) -> HistoryState:
    """Give the first copy a position; a copy that has begun already keeps the one that it has."""
    state = histories_of(cdc_pipelines.locked(connection, sync_key))[source]
    if state.copied_at is None:
        _note(connection, sync_key, source, copied_at=lsn_text(at), read_at=read_at)
        state = HistoryState(state.since, at, read_at)
    return state


def _note(connection: Connection, sync_key: str, source: str, **notes: str) -> None:
    metadata = dict(cdc_pipelines.locked(connection, sync_key).metadata)
    histories = {name: dict(each) for name, each in metadata.get(_NOTES, {}).items()}
    histories[source] = {**histories.get(source, {}), **notes}
    cdc_pipelines.set_metadata(connection, sync_key, {**metadata, _NOTES: histories})

"""Where each stream of changes stands, and how far the first copy of each of its tables is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from airflow_etl_sync.core.changes import Lsn, lsn_of, lsn_text
from airflow_etl_sync.errors import StateError
from airflow_etl_sync.state.tables import cdc_pipeline, cdc_table

TableStatus = Literal["pending", "copying", "ready"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A stream of changes.

    :param applied: every change of a transaction whose commit ends at or before this position is in the destination
    :param committed: where the commit of the last transaction ends that was applied, at most ``applied``: that one is
        also moved where nothing came, to a position at which no commit need end
    """

    sync_key: str
    slot: str
    publication: str
    applied: Lsn
    committed: Lsn
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """The first copy of a table.

    :param last_key: the key behind which the copy goes on, as text; None where it has not begun
    :param copied_until: the position up to which changes may be older than what was copied
    """

    source: str
    target: str
    status: TableStatus
    last_key: tuple[str, ...] | None
    copied_until: Lsn | None


def get(connection: Connection, sync_key: str, *, lock: bool = False) -> Pipeline | None:
    """The pipeline, or None where it has not begun.

    :param lock: whether nobody else may go on with it until the transaction ends
    """
    query = select(cdc_pipeline).where(cdc_pipeline.c.sync_key == sync_key)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return None
    return Pipeline(
        sync_key=row.sync_key,
        slot=row.slot,
        publication=row.publication,
        applied=lsn_of(row.applied_lsn),
        committed=lsn_of(row.committed_lsn),
        metadata=row.metadata,
    )


def locked(connection: Connection, sync_key: str) -> Pipeline:
    """The pipeline, with which nobody else goes on until the transaction ends.

    :raises StateError: where it is gone
    """
    pipeline = get(connection, sync_key, lock=True)
    if pipeline is None:
        raise StateError(f"The state of the change stream {sync_key!r} is gone: somebody reset it. Run it again.")
    return pipeline


def get_or_create(connection: Connection, sync_key: str, slot: str, publication: str, start: Lsn) -> Pipeline:
    """The pipeline, locked; a new one stands at the slot's position.

    :raises StateError: where it reads another slot
    """
    values = {"sync_key": sync_key, "slot": slot, "publication": publication, "metadata": {}}
    places = {"applied_lsn": lsn_text(start), "committed_lsn": lsn_text(start)}
    if get(connection, sync_key) is None:
        try:
            with connection.begin_nested():
                connection.execute(insert(cdc_pipeline).values(**values, **places, updated_at=_now()))
        except IntegrityError:
            pass  # another run has begun it at this moment: its row is taken
    pipeline = locked(connection, sync_key)
    if pipeline.slot != slot:
        raise StateError(
            f"The change stream {sync_key!r} reads {pipeline.slot!r}, and a position in it says nothing about another "
            f"log: name that slot or server again, or resync to go over to {slot!r}."
        )
    return pipeline


def applied(connection: Connection, sync_key: str, *, lock: bool = True) -> Lsn:
    """The position up to which changes are in the destination.

    :raises StateError: where there is no such pipeline
    """
    pipeline = locked(connection, sync_key) if lock else get(connection, sync_key)
    if pipeline is None:
        raise StateError(f"The change stream {sync_key!r} has not begun.")
    return pipeline.applied


def set_applied(connection: Connection, sync_key: str, to: Lsn, *, committed: Lsn | None = None) -> None:
    """Note how far changes are in the destination, in the transaction that brings them.

    :param committed: where the last applied commit ends, if there was one
    """
    values = {"applied_lsn": lsn_text(to), "updated_at": _now()}
    if committed is not None:
        values["committed_lsn"] = lsn_text(committed)
    connection.execute(update(cdc_pipeline).where(cdc_pipeline.c.sync_key == sync_key).values(**values))


def set_metadata(connection: Connection, sync_key: str, metadata: Mapping[str, Any]) -> None:
    """Replace what else is known of a pipeline."""
    connection.execute(update(cdc_pipeline).where(cdc_pipeline.c.sync_key == sync_key).values(metadata=dict(metadata)))


def forget(connection: Connection, sync_key: str) -> None:
    """Drop all that is known of a pipeline: it then begins where its slot stands, and its tables are copied afresh."""
    connection.execute(delete(cdc_table).where(cdc_table.c.sync_key == sync_key))
    connection.execute(delete(cdc_pipeline).where(cdc_pipeline.c.sync_key == sync_key))


def register(connection: Connection, sync_key: str, tables: Sequence[tuple[str, str]]) -> None:
    """Note which tables the pipeline has; new ones are to be copied.

    One that it has no longer is forgotten: nobody applies its changes meanwhile, so it is new when it comes back.

    :param tables: source table and target, as :class:`~airflow_etl_sync.core.model.TableName` writes them
    :raises StateError: where a table has gone to another target so far
    """
    known = {state.source: state for state in tables_of(connection, sync_key)}
    left_out = known.keys() - {source for source, _ in tables}
    connection.execute(
        delete(cdc_table).where((cdc_table.c.sync_key == sync_key) & cdc_table.c.source_table.in_(left_out))
    )
    for source, target in tables:
        if source not in known:
            values = {"sync_key": sync_key, "source_table": source, "target": target, "status": "pending"}
            connection.execute(insert(cdc_table).values(**values))
        elif known[source].target != target:
            raise StateError(
                f"The changes of {source!r} went to {known[source].target!r} so far, so {target!r} would lack what "
                "came before: resync, or use another sync_key and slot for it."
            )


def tables_of(connection: Connection, sync_key: str) -> list[TableState]:
    """The pipeline's tables, in the order of their names."""
    query = select(cdc_table).where(cdc_table.c.sync_key == sync_key).order_by(cdc_table.c.source_table)
    return [
        TableState(
            source=row.source_table,
            target=row.target,
            status=row.status,
            last_key=None if row.last_key is None else tuple(row.last_key),
            copied_until=None if row.copied_until is None else lsn_of(row.copied_until),
        )
        for row in connection.execute(query)
    ]


def mark_chunk(connection: Connection, sync_key: str, source: str, last_key: Sequence[str]) -> None:
    """Note up to which key a table is copied, in the transaction that brings the rows."""
    _set(connection, sync_key, source, status="copying", last_key=list(last_key))


def mark_ready(connection: Connection, sync_key: str, source: str, copied_until: Lsn | None) -> None:
    """Note that a table is copied.

    :param copied_until: a position read after its last row was; None where there was nothing to copy
    """
    text = None if copied_until is None else lsn_text(copied_until)
    _set(connection, sync_key, source, status="ready", copied_until=text)


def raise_copied_until(connection: Connection, sync_key: str, source: str, to: Lsn) -> None:
    """Note that rows of a table were read from the source, where they may be newer than what is applied."""
    state = next((each for each in tables_of(connection, sync_key) if each.source == source), None)
    if state is not None and to > (state.copied_until or 0):
        _set(connection, sync_key, source, copied_until=lsn_text(to))


def _set(connection: Connection, sync_key: str, source: str, **values: Any) -> None:
    same = (cdc_table.c.sync_key == sync_key) & (cdc_table.c.source_table == source)
    connection.execute(update(cdc_table).where(same).values(**values))


def _now() -> datetime:
    return datetime.now(timezone.utc)

"""The rows that could not be loaded, until they are, or a newer row of their key is."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.failed_record import FailedRecord, Key
from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.state.tables import failed_record

log = logging.getLogger(__name__)

_UNTRANSFORMED = "is_untransformed"

ClosedBy = Literal["newer row", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """A failed record as it is kept.

    :param failures: how often its row has failed
    :param load_rules: how it was to be loaded
    """

    id: int
    sync_key: str
    target: str
    record: FailedRecord = field(repr=False)
    load_rules: LoadRules
    failures: int
    failed_at: datetime


def record(connection: Connection, run: Run, target: str, rules: LoadRules, failed: Sequence[FailedRecord]) -> None:
    """Keep rows that failed, in the transaction that loads the others; one that failed before is brought up to date."""
    for each in failed:
        values = {
            "extraction_id": run.extraction_id,
            "payload": each.payload,
            "types": each.types,
            "load_rules": asdict(rules) | ({_UNTRANSFORMED: True} if each.is_untransformed else {}),
            "sqlstate": each.sqlstate,
            "error": each.error,
            "failed_at": datetime.now(timezone.utc),
        }
        same = _is_open(run.sync_key, target) & (failed_record.c.identity == each.identity)
        again = update(failed_record).where(same).values(**values, failures=failed_record.c.failures + 1)
        if connection.execute(again).rowcount:
            continue
        first = {"sync_key": run.sync_key, "target": target, "identity": each.identity, "key": list(each.key)}
        try:
            with connection.begin_nested():
                connection.execute(insert(failed_record).values(**first, **values, failures=1))
        except IntegrityError:  # another load was first, and has committed
            connection.execute(again)
    if failed:
        kinds = Counter(each.sqlstate or "no SQLSTATE" for each in failed).most_common()
        what = ", ".join(f"{kind}: {count}" for kind, count in kinds)
        log.warning("%d rows for %s could not be loaded (%s): kept as failed records", len(failed), target, what)


def open_keys(connection: Connection, sync_key: str, target: str) -> list[Key]:
    """The keys of the records that are still open; those with NULL in them are left out, since no row replaces them."""
    keys = connection.scalars(select(failed_record.c.key).where(_is_open(sync_key, target)))
    return [tuple(key) for key in keys if None not in key]


def open_values(connection: Connection, sync_key: str, target: str, columns: Sequence[str]) -> set[Key]:
    """What the records that are still open hold in some columns."""
    payloads = connection.scalars(select(failed_record.c.payload).where(_is_open(sync_key, target)))
    return {tuple([payload.get(name) for name in columns]) for payload in payloads}


def settle(connection: Connection, run: Run, target: str, keys: Iterable[Key]) -> None:
    """Close the records of keys that a run has loaded: what they hold is there, or is older."""
    by: ClosedBy = "replay" if run.kind == "replay" else "newer row"
    for key in keys:
        identity = FailedRecord(key=key, payload={}, error="").identity
        same = _is_open(run.sync_key, target) & (failed_record.c.identity == identity)
        connection.execute(_closing(by).where(same))


def find_open(connection: Connection, sync_key: str | None = None, limit: int | None = None) -> list[StoredRecord]:
    """The open records, oldest first."""
    query = select(failed_record).where(failed_record.c.closed_at.is_(None)).order_by(failed_record.c.id).limit(limit)
    if sync_key is not None:
        query = query.where(failed_record.c.sync_key == sync_key)
    return [_stored(row) for row in connection.execute(query)]


def find(connection: Connection, ids: Sequence[int]) -> list[StoredRecord]:
    """Records by their ids, open or closed."""
    query = select(failed_record).where(failed_record.c.id.in_(ids)).order_by(failed_record.c.id)
    return [_stored(row) for row in connection.execute(query)]


def lock_open(connection: Connection, ids: Sequence[int]) -> dict[int, int]:
    """Those of the records that are still open, and how often each has failed: once more, and it holds a newer row.

    Nobody else changes them before the transaction ends.
    """
    mine = failed_record.c.id.in_(ids) & failed_record.c.closed_at.is_(None)
    query = select(failed_record.c.id, failed_record.c.failures).where(mine).order_by(failed_record.c.id)
    return {row.id: row.failures for row in connection.execute(query.with_for_update())}


def failed_in(connection: Connection, extraction_id: str) -> set[int]:
    """The open records whose row failed last in one run."""
    query = select(failed_record.c.id).where(
        failed_record.c.extraction_id == extraction_id, failed_record.c.closed_at.is_(None)
    )
    return set(connection.scalars(query))


def close(connection: Connection, ids: Sequence[int], by: ClosedBy) -> None:
    """Close records."""
    connection.execute(_closing(by).where(failed_record.c.id.in_(ids)))


def open_of(sync_key: str) -> Any:
    """The condition that a record is one of the sync's, and open."""
    return (failed_record.c.sync_key == sync_key) & failed_record.c.closed_at.is_(None)


def _is_open(sync_key: str, target: str) -> Any:
    return open_of(sync_key) & (failed_record.c.target == target)


def _closing(by: ClosedBy) -> Any:
    return update(failed_record).values(closed_at=datetime.now(timezone.utc), closed_by=by)


def _stored(row: Row[Any]) -> StoredRecord:
    rules = {**row.load_rules, "primary_key": tuple(row.load_rules["primary_key"])}
    is_untransformed = rules.pop(_UNTRANSFORMED, False)
    return StoredRecord(
        id=row.id,
        sync_key=row.sync_key,
        target=row.target,
        record=FailedRecord(
            key=tuple(row.key),
            payload=row.payload,
            types={name: ColumnTypes(*types) for name, types in row.types.items()},
            error=row.error,
            sqlstate=row.sqlstate,
            is_untransformed=is_untransformed,
        ),
        load_rules=LoadRules(**rules),
        failures=row.failures,
        failed_at=row.failed_at,
    )

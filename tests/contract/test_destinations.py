"""What every destination promises, held against every system."""

from __future__ import annotations

from itertools import count
from typing import Any

import pyarrow as pa
import pytest

from airflow_etl_sync.core.columns import ColumnTypes, noted
from airflow_etl_sync.core.model import ConflictStrategy, Counts, LoadRules
from airflow_etl_sync.errors import DataError, EtlSyncError, SchemaError
from airflow_etl_sync.state import tables
from airflow_etl_sync.systems.base import Merged, MergeKeys, Tolerance
from tests.contract.systems import DestinationSystem

KEYS = MergeKeys(("id",), "c")
_TYPES = {"id": (pa.int32(), "integer"), "c": (pa.int64(), "bigint"), "v": (pa.string(), "text")}
_numbers = count()


def batch_of(*rows: dict[str, Any], **more: tuple[pa.DataType, str]) -> pa.RecordBatch:
    known = {name: type_ for name, type_ in (_TYPES | more).items() if name in rows[0]}
    schema = pa.schema([noted(name, arrow, ColumnTypes(type_, type_)) for name, (arrow, type_) in known.items()])
    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


def row(id_: int | None, cursor: int, value: str | None) -> dict[str, Any]:
    return {"id": id_, "c": cursor, "v": value}


def merge(system: DestinationSystem, batch: pa.RecordBatch, rules: LoadRules | None = None, errors: int = 0) -> Merged:
    """Stage a batch and merge it, in one transaction that is committed."""
    destination = system.destination("t")
    tables.ensure(destination.engine)
    staged = destination.stage(f"stage_contract_{next(_numbers)}", batch.schema, [batch])
    with destination.engine.begin() as connection:
        return destination.merge(
            connection, staged, batch.num_rows, KEYS, rules or LoadRules(), Tolerance(errors=errors)
        )


@pytest.mark.contract("idempotent replay")
def test_merging_again_changes_nothing(destination_system: DestinationSystem) -> None:
    batch = batch_of(row(1, 1, "a"), row(2, 2, None))
    assert merge(destination_system, batch).counts == Counts(inserted=2)
    assert merge(destination_system, batch).counts == Counts(skipped=2)
    assert destination_system.rows("t") == [(1, 1, "a"), (2, 2, None)]


@pytest.mark.contract("idempotent replay")
def test_a_merge_that_is_not_committed_changes_nothing(destination_system: DestinationSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "a")))
    destination = destination_system.destination("t")
    batch = batch_of(row(1, 2, "b"), row(2, 2, "b"))
    staged = destination.stage("stage_contract_given_up", batch.schema, [batch])
    with destination.engine.connect() as connection:
        destination.merge(connection, staged, 2, KEYS, LoadRules(), Tolerance())
        connection.rollback()
    assert destination_system.rows("t") == [(1, 1, "a")]


@pytest.mark.contract("idempotent replay")
def test_staged_rows_that_a_crash_has_emptied_are_noticed(destination_system: DestinationSystem) -> None:
    destination = destination_system.destination("t")
    tables.ensure(destination.engine)
    batch = batch_of(row(1, 1, "a"))
    staged = destination.stage("stage_contract_emptied", batch.schema, [batch])
    with pytest.raises(EtlSyncError), destination.engine.begin() as connection:
        destination.merge(connection, staged, 2, KEYS, LoadRules(), Tolerance())


@pytest.mark.contract("conflict strategies")
@pytest.mark.parametrize(
    ("conflict", "after", "counts"),
    [
        ("source_wins", [(1, 4, None), (2, 6, "new")], Counts(updated=2)),
        ("dest_wins", [(1, 5, "old"), (2, 5, "old")], Counts(skipped=2)),
        ("latest_wins", [(1, 5, "old"), (2, 6, "new")], Counts(updated=1, skipped=1)),
        ("merge_non_null", [(1, 4, "old"), (2, 6, "new")], Counts(updated=2)),
    ],
)
def test_who_wins(
    destination_system: DestinationSystem, conflict: ConflictStrategy, after: list[Any], counts: Counts
) -> None:
    merge(destination_system, batch_of(row(1, 5, "old"), row(2, 5, "old")))
    newer = batch_of(row(1, 4, None), row(2, 6, "new"))
    assert merge(destination_system, newer, LoadRules(conflict=conflict)).counts == counts
    assert destination_system.rows("t") == after


@pytest.mark.contract("conflict strategies")
def test_of_two_rows_of_one_key_the_later_one_lands(destination_system: DestinationSystem) -> None:
    counts = merge(destination_system, batch_of(row(1, 2, "later"), row(1, 1, "earlier"))).counts
    assert counts == Counts(inserted=1, skipped=1)
    assert destination_system.rows("t") == [(1, 2, "later")]


@pytest.mark.contract("schema contracts")
@pytest.mark.parametrize("contract", ["evolve", "discard_column"])
def test_a_new_column(destination_system: DestinationSystem, contract: Any) -> None:
    merge(destination_system, batch_of(row(1, 1, "a")))
    wider = batch_of({**row(2, 2, "b"), "w": 7}, w=(pa.int32(), "integer"))
    merged = merge(destination_system, wider, LoadRules(schema_contract=contract))
    expected = [(1, 1, "a", None), (2, 2, "b", 7)] if contract == "evolve" else [(1, 1, "a"), (2, 2, "b")]
    assert destination_system.rows("t") == expected
    assert [(change.column, change.change) for change in merged.changes] == [
        ("w", "added" if contract == "evolve" else "left_out")
    ]


@pytest.mark.contract("schema contracts")
def test_a_frozen_table_refuses_a_new_column_and_changes_nothing(destination_system: DestinationSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "a")))
    wider = batch_of({**row(2, 2, "b"), "w": 7}, w=(pa.int32(), "integer"))
    with pytest.raises(SchemaError, match="has no column w"):
        merge(destination_system, wider, LoadRules(schema_contract="freeze"))
    assert destination_system.rows("t") == [(1, 1, "a")]


@pytest.mark.contract("failed records")
def test_rows_that_cannot_be_loaded_are_set_aside_within_the_limit(destination_system: DestinationSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "a")))
    batch = batch_of(row(None, 2, "b"), row(3, 3, "c"))
    with pytest.raises(DataError):
        merge(destination_system, batch)
    assert destination_system.rows("t") == [(1, 1, "a")]
    merged = merge(destination_system, batch, LoadRules(max_errors=1), errors=1)
    assert merged.counts == Counts(inserted=1, errors=1)
    assert [record.payload["v"] for record in merged.failed] == ["b"]
    assert destination_system.rows("t") == [(1, 1, "a"), (3, 3, "c")]


@pytest.mark.contract("counts")
def test_every_row_is_counted_once(destination_system: DestinationSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "same"), row(2, 1, "old")))
    batch = batch_of(row(1, 1, "same"), row(2, 2, "new"), row(3, 3, "first"), row(None, 4, "no key"))
    counts = merge(destination_system, batch, LoadRules(max_errors=1), errors=1).counts
    assert counts == Counts(inserted=1, updated=1, skipped=1, errors=1)
    assert counts.processed == batch.num_rows

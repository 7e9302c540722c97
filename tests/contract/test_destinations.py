"""What every destination promises, held against every system."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone
from itertools import count
from typing import Any

import pyarrow as pa
import pytest

from airflow_etl_sync.core.columns import ColumnTypes, noted
from airflow_etl_sync.core.model import ConflictStrategy, Counts, LoadRules
from airflow_etl_sync.errors import DataError, EtlSyncError, SchemaError, StateError
from airflow_etl_sync.state import tables
from airflow_etl_sync.systems.base import Destination, Landed, Mark, Merged, MergeKeys, StagedChunk, Tolerance
from tests.contract.systems import DeltaSystem, DestinationSystem, PostgresSystem, SqlAlchemySystem

KEYS = MergeKeys(("id",), "c")
_TYPES = {"id": (pa.int32(), "integer"), "c": (pa.int64(), "bigint"), "v": (pa.string(), "text")}
_numbers = count()
INSTANT, MICROSECOND = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=timezone.utc), timedelta(microseconds=1)
MOMENT = INSTANT.replace(tzinfo=None)


def batch_of(*rows: dict[str, Any], **more: tuple[pa.DataType, str]) -> pa.RecordBatch:
    known = {name: type_ for name, type_ in (_TYPES | more).items() if name in rows[0]}
    schema = pa.schema([noted(name, arrow, ColumnTypes(type_, type_)) for name, (arrow, type_) in known.items()])
    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


def row(id_: int | None, cursor: int, value: str | None) -> dict[str, Any]:
    return {"id": id_, "c": cursor, "v": value}


def stage(destination: Destination, batch: pa.RecordBatch, mark: Mark | None = None) -> StagedChunk:
    """Stage a batch as the only chunk of a run of its own."""
    tables.ensure(destination.engine)
    number = next(_numbers)
    staged = destination.stage(f"stage_contract_{number}", batch.schema, [batch])
    return replace(staged, mark=mark or mark_of(number))


def mark_of(turn: int, extraction_id: str = "", **changes: Any) -> Mark:
    known: dict[str, Any] = {"sync_key": "s", "number": 0, "turn": turn, "overtakes": True, "yields": True}
    return Mark(**{**known, "extraction_id": extraction_id or f"run{turn}", **changes})


def merge(system: DestinationSystem, batch: pa.RecordBatch, rules: LoadRules | None = None, errors: int = 0) -> Merged:
    """Stage a batch and merge it, in one transaction that is committed."""
    destination = system.destination("t")
    staged = stage(destination, batch)
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
def test_a_merge_that_the_state_does_not_commit_is_undone_or_recalled(destination_system: DestinationSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "a")))
    destination = destination_system.destination("t")
    batch = batch_of(row(1, 2, "b"), row(2, 2, "b"), row(None, 2, "c"), v2=(pa.int32(), "integer"))
    mark = mark_of(next(_numbers), position={"cursor": "2"})
    with destination.engine.connect() as connection:
        merged = destination.merge(connection, stage(destination, batch, mark), 3, KEYS, LoadRules(), Tolerance(1))
        connection.rollback()
    assert merged.counts == Counts(inserted=1, updated=1, errors=1)
    if type(destination_system) is PostgresSystem:
        assert destination_system.rows("t") == [(1, 1, "a")]
        assert destination.recall(mark.extraction_id) == {}
        return
    assert destination_system.rows("t") == [(1, 2, "b"), (2, 2, "b")]
    assert destination.recall(mark.extraction_id) == {0: Landed(merged, {"cursor": "2"})}
    other = batch_of(row(3, 3, "d"))
    with pytest.raises(StateError) as refused, destination.engine.begin() as connection:
        destination.merge(connection, stage(destination, other, mark), 1, KEYS, LoadRules(), Tolerance())
    assert refused.value.is_retryable
    assert destination_system.rows("t") == [(1, 2, "b"), (2, 2, "b")]
    assert destination.recall("another") == {}


@pytest.mark.contract("newest run")
@pytest.mark.parametrize("is_first", [True, False])
def test_an_older_run_loads_nothing_over_a_newer_ones_rows(
    destination_system: DestinationSystem, is_first: bool
) -> None:
    if type(destination_system) is PostgresSystem:
        pytest.skip("the state's own lock keeps it away, see tests/integration/test_journey.py")
    destination = destination_system.destination("t")
    older, newer = mark_of(1_000), mark_of(2_000)
    if not is_first:
        merge_under(destination, older, batch_of(row(1, 1, "older")))
    merge_under(destination, newer, batch_of(row(1, 3, "newer")))
    with pytest.raises(StateError, match="A newer run of 's' has loaded t"):
        merge_under(destination, replace(older, number=1), batch_of(row(1, 2, "older"), row(2, 2, "older")))
    assert destination_system.rows("t") == [(1, 3, "newer")]
    assert destination.recall(older.extraction_id) == {}
    of_another_sync = replace(older, sync_key="another", number=2)
    assert merge_under(destination, of_another_sync, batch_of(row(2, 1, "x"))).counts == Counts(inserted=1)
    backfill = replace(older, number=3, overtakes=False, yields=False)
    assert merge_under(destination, backfill, batch_of(row(3, 1, "x"))).counts == Counts(inserted=1)
    yielding = replace(older, number=4, overtakes=False)
    with pytest.raises(StateError, match="A newer run of 's' has loaded t"):
        merge_under(destination, yielding, batch_of(row(4, 1, "x")))


def merge_under(destination: Destination, mark: Mark, batch: pa.RecordBatch) -> Merged:
    staged = stage(destination, batch, mark)
    with destination.engine.begin() as connection:
        return destination.merge(connection, staged, batch.num_rows, KEYS, LoadRules(), Tolerance())


@pytest.mark.contract("idempotent replay")
def test_staged_rows_that_a_crash_has_emptied_are_noticed(destination_system: DestinationSystem) -> None:
    destination = destination_system.destination("t")
    batch = batch_of(row(1, 1, "a"))
    staged = stage(destination, batch)
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


EXACT: list[tuple[pa.DataType, str, Any, Any]] = [
    (pa.string(), "numeric(30,10)", "12345678901234567890.0123456789", "12345678901234567890.0123456788"),
    (pa.int64(), "bigint", 2**63 - 1, 2**63 - 2),
    (pa.float64(), "double precision", 0.1, 0.1 + 2**-56),
    (pa.string(), "text", "a", "A"),
    (pa.string(), "text", "a", "a "),
    (pa.string(), "text", "é", "e\u0301"),
    (pa.binary(), "bytea", b"\x00a", b"\x00b"),
    (pa.bool_(), "boolean", True, False),
    (pa.date32(), "date", date(1, 1, 1), date(9999, 12, 31)),
    (pa.timestamp("us"), "timestamp without time zone", MOMENT, MOMENT + MICROSECOND),
    (pa.timestamp("us", "UTC"), "timestamp with time zone", INSTANT, INSTANT + MICROSECOND),
    (pa.time64("us"), "time without time zone", time(23, 59, 59, 999999), time(23, 59, 59, 999998)),
]


@pytest.mark.contract("types exact")
def test_the_last_digit_makes_a_difference(destination_system: DestinationSystem) -> None:
    columns = {f"x{n}": (arrow, type_) for n, (arrow, type_, _, _) in enumerate(EXACT)}
    values = {f"x{n}": before for n, (_, _, before, _) in enumerate(EXACT)}
    assert merge(destination_system, batch_of({"id": 1, "c": 1, **values}, **columns)).counts == Counts(inserted=1)
    for n, (_, type_, _, after) in enumerate(EXACT):
        values[f"x{n}"] = after
        batch = batch_of({"id": 1, "c": 1, **values}, **columns)
        assert merge(destination_system, batch).counts == Counts(updated=1), type_
    assert merge(destination_system, batch_of({"id": 1, "c": 1, **values}, **columns)).counts == Counts(skipped=1)


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
def test_a_value_that_a_column_is_too_narrow_for(destination_system: DestinationSystem) -> None:
    """As it comes when the source's column has been widened; it is never cut."""
    merge(destination_system, batch_of({**row(1, 1, "a"), "w": 7}, w=(pa.int32(), "integer")))
    large = batch_of({**row(2, 2, "b"), "w": 2**40}, w=(pa.int64(), "bigint"))
    if type(destination_system) in (DeltaSystem, SqlAlchemySystem):
        with pytest.raises(DataError):
            merge(destination_system, large)
        return
    assert merge(destination_system, large).counts == Counts(inserted=1)
    assert destination_system.rows("t") == [(1, 1, "a", 7), (2, 2, "b", 2**40)]


@pytest.mark.contract("schema contracts")
def test_a_frozen_table_refuses_a_new_column_and_changes_nothing(destination_system: DestinationSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "a")))
    wider = batch_of({**row(2, 2, "b"), "w": 7}, w=(pa.int32(), "integer"))
    with pytest.raises(SchemaError, match="has no column w"):
        merge(destination_system, wider, LoadRules(schema_contract="freeze"))
    assert destination_system.rows("t") == [(1, 1, "a")]


@pytest.mark.contract("schema contracts")
def test_rows_with_a_value_in_a_new_column_are_set_aside(destination_system: DestinationSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "a")))
    wider = batch_of({**row(2, 2, "b"), "w": 7}, {**row(3, 3, "c"), "w": None}, w=(pa.int32(), "integer"))
    merged = merge(destination_system, wider, LoadRules(schema_contract="discard_row", max_errors=1), errors=1)
    assert merged.counts == Counts(inserted=1, errors=1)
    assert [record.payload["w"] for record in merged.failed] == ["7"]
    assert destination_system.rows("t") == [(1, 1, "a"), (3, 3, "c")]


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


@pytest.mark.contract("failed records")
def test_a_record_that_failed_is_settled_by_a_newer_row_of_its_key(destination_system: DestinationSystem) -> None:
    destination = destination_system.destination("t")
    batch = batch_of(row(1, 1, "a"), row(2, 2, "b"), row(None, 3, "c"))
    with destination.engine.connect() as connection:
        tables.ensure(destination.engine)
        watched = (("2",), ("5",), ("2", "b"))
        merged = destination.merge(
            connection, stage(destination, batch), 3, KEYS, LoadRules(max_errors=1), Tolerance(1, watched)
        )
        connection.commit()
    assert merged.settled == (("2",),)


@pytest.mark.contract("counts")
def test_every_row_is_counted_once(destination_system: DestinationSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "same"), row(2, 1, "old")))
    batch = batch_of(row(1, 1, "same"), row(2, 2, "new"), row(3, 3, "first"), row(None, 4, "no key"))
    counts = merge(destination_system, batch, LoadRules(max_errors=1), errors=1).counts
    assert counts == Counts(inserted=1, updated=1, skipped=1, errors=1)
    assert counts.processed == batch.num_rows


@pytest.mark.contract("counts")
def test_nothing_instead_of_a_value_is_a_change(destination_system: DestinationSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "a"), row(2, 1, None), row(3, 1, None)))
    batch = batch_of(row(1, 1, None), row(2, 1, "b"), row(3, 1, None))
    assert merge(destination_system, batch).counts == Counts(updated=2, skipped=1)
    assert destination_system.rows("t") == [(1, 1, None), (2, 1, "b"), (3, 1, None)]

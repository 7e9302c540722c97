"""What a destination promises, held against Parquet files, to which rows are only ever added."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, TableName
from airflow_etl_sync.errors import ConfigurationError, DataError, EtlSyncError, StateError
from airflow_etl_sync.systems.base import Destination, Landed, Tolerance
from airflow_etl_sync.systems.parquet.destination import ParquetDestination
from airflow_etl_sync.systems.parquet.files import DirectoryFiles
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.contract.test_destinations import EXACT, KEYS, batch_of, mark_of, merge, merge_under, row, stage

AMOUNT = (pa.string(), "numeric(5,2)")


class ParquetSystem:
    """A lake on this machine.

    :param state: the conninfo of the state's database
    """

    def __init__(self, root: Path, state: str) -> None:
        self._root, self._state = root, state

    def destination(self, table: str) -> Destination:
        state = PostgresAccess(self._state).engine()
        return ParquetDestination(DirectoryFiles(self._root), TableName(table), state)

    def execute(self, *statements: str) -> Any:
        raise NotImplementedError

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """The rows of all files, as a reader finds them who knows the columns of each."""
        parts = list((self._root / table).glob("*.parquet"))
        schema = pa.unify_schemas([ds.dataset(part).schema.remove_metadata() for part in parts])
        found = ds.dataset(parts, schema=schema).to_table().to_pylist()
        return sorted((tuple(each.values()) for each in found), key=str)


@pytest.fixture(params=["parquet"])
def destination_system(tmp_path: Path, warehouse_db: str) -> ParquetSystem:
    return ParquetSystem(tmp_path / "lake", warehouse_db)


@pytest.mark.contract("idempotent replay")
def test_a_chunk_lands_once_and_what_another_run_reads_again_is_added_again(destination_system: ParquetSystem) -> None:
    destination = destination_system.destination("t")
    batch, mark = batch_of(row(1, 1, "a"), row(2, 2, None)), mark_of(1_000, position={"cursor": "2"})
    with destination.engine.connect() as connection:
        merged = destination.merge(connection, stage(destination, batch, mark), 2, KEYS, LoadRules(), Tolerance())
        connection.rollback()
    assert merged.counts == Counts(inserted=2)
    assert destination.recall(mark.extraction_id) == {0: Landed(merged, {"cursor": "2"})}
    with pytest.raises(StateError, match="by another try") as refused:
        merge_under(destination, mark, batch)
    assert refused.value.is_retryable and destination.recall("another") == {}
    assert destination_system.rows("t") == [(1, 1, "a"), (2, 2, None)]
    assert merge(destination_system, batch).counts == Counts(inserted=2)
    assert destination_system.rows("t") == [(1, 1, "a"), (1, 1, "a"), (2, 2, None), (2, 2, None)]


@pytest.mark.contract("idempotent replay")
def test_staged_rows_that_are_not_all_there_are_noticed(destination_system: ParquetSystem) -> None:
    destination = destination_system.destination("t")
    staged = stage(destination, batch_of(row(1, 1, "a")))
    with pytest.raises(EtlSyncError, match="1 of 2 rows are staged"), destination.engine.begin() as connection:
        destination.merge(connection, staged, 2, KEYS, LoadRules(), Tolerance())


@pytest.mark.contract("newest run")
def test_the_rows_of_an_older_run_lie_beside_those_of_a_newer_one(destination_system: ParquetSystem) -> None:
    destination = destination_system.destination("t")
    merge_under(destination, mark_of(2_000), batch_of(row(1, 3, "newer")))
    assert merge_under(destination, mark_of(1_000), batch_of(row(1, 2, "older"))).counts == Counts(inserted=1)
    assert destination_system.rows("t") == [(1, 2, "older"), (1, 3, "newer")]


@pytest.mark.contract("conflict strategies")
@pytest.mark.parametrize("conflict", ["dest_wins", "latest_wins", "merge_non_null"])
def test_a_conflict_strategy_is_refused(destination_system: ParquetSystem, conflict: Any) -> None:
    with pytest.raises(ConfigurationError, match="Rows are only ever added"):
        merge(destination_system, batch_of(row(1, 1, "a")), LoadRules(conflict=conflict))


@pytest.mark.contract("conflict strategies")
def test_rows_of_one_key_are_all_added(destination_system: ParquetSystem) -> None:
    counts = merge(destination_system, batch_of(row(1, 2, "later"), row(1, 1, "earlier"))).counts
    assert counts == Counts(inserted=2)
    assert destination_system.rows("t") == [(1, 1, "earlier"), (1, 2, "later")]


@pytest.mark.contract("types exact")
@pytest.mark.parametrize("case", EXACT, ids=[type_ for _, type_, _, _ in EXACT])
def test_the_last_digit_is_kept(destination_system: ParquetSystem, case: tuple[pa.DataType, str, Any, Any]) -> None:
    arrow, type_, first, second = case
    batch = batch_of(*({"id": n, "c": 1, "x": value} for n, value in enumerate((first, second))), x=(arrow, type_))
    assert merge(destination_system, batch).counts == Counts(inserted=2)
    kept = [value for *_, value in destination_system.rows("t")]
    if type_.startswith("numeric"):
        assert kept == [Decimal(first), Decimal(second)]
    else:  # a time is kept as a text
        assert kept == [str(each) if type_.startswith("time without") else each for each in (first, second)]


@pytest.mark.contract("schema contracts")
def test_the_files_of_a_chunk_have_the_columns_that_it_has(destination_system: ParquetSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "a")))
    wider = batch_of({**row(2, 2, "b"), "w": 7}, w=(pa.int32(), "integer"))
    assert merge(destination_system, wider).changes == ()
    assert destination_system.rows("t") == [(1, 1, "a", None), (2, 2, "b", 7)]


@pytest.mark.contract("schema contracts")
@pytest.mark.parametrize("contract", ["freeze", "discard_column", "discard_row"])
def test_a_schema_contract_is_refused(destination_system: ParquetSystem, contract: Any) -> None:
    with pytest.raises(ConfigurationError, match="Rows are only ever added"):
        merge(destination_system, batch_of(row(1, 1, "a")), LoadRules(schema_contract=contract, max_errors=1))


@pytest.mark.contract("failed records")
def test_rows_whose_values_their_types_do_not_hold_are_set_aside_within_the_limit(
    destination_system: ParquetSystem,
) -> None:
    batch = batch_of({**row(1, 1, "a"), "w": "NaN"}, {**row(2, 2, "b"), "w": "1.10"}, w=AMOUNT)
    with pytest.raises(DataError, match="column w: the value is not the same"):
        merge(destination_system, batch)
    merged = merge(destination_system, batch, LoadRules(max_errors=1), errors=1)
    assert merged.counts == Counts(inserted=1, errors=1)
    assert [(record.key, record.payload["w"]) for record in merged.failed] == [((), "NaN")]
    assert destination_system.rows("t") == [(2, 2, "b", Decimal("1.10"))]


@pytest.mark.contract("failed records")
def test_no_newer_row_settles_a_failed_record_as_none_has_a_key(destination_system: ParquetSystem) -> None:
    destination = destination_system.destination("t")
    with destination.engine.begin() as connection:
        staged = stage(destination, batch_of(row(2, 2, "b")))
        merged = destination.merge(connection, staged, 1, KEYS, LoadRules(), Tolerance(watched=(("2",), ())))
    assert merged.settled == ()


@pytest.mark.contract("counts")
def test_every_row_is_counted_once(destination_system: ParquetSystem) -> None:
    merge(destination_system, batch_of(row(1, 1, "same")))
    batch = batch_of(
        {**row(1, 1, "same"), "w": "1"}, {**row(None, 4, "no key"), "w": None}, {**row(3, 3, "x"), "w": "NaN"}, w=AMOUNT
    )
    counts = merge(destination_system, batch, LoadRules(max_errors=1), errors=1).counts
    assert counts == Counts(inserted=2, errors=1)
    assert counts.processed == batch.num_rows

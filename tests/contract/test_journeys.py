"""From every source into PostgreSQL: exact types, resumed runs and schema contracts."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from itertools import count
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from airflow_etl_sync.core.model import (
    Counts,
    LoadRules,
    RunIdentity,
    SchemaContract,
    Stream,
    TableName,
    Window,
    WindowRules,
)
from airflow_etl_sync.errors import SchemaError, SourceError
from airflow_etl_sync.journey.sync import SyncReport, sync
from airflow_etl_sync.systems.base import Position, Source
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from tests.contract.systems import SourceSystem

STREAM = Stream(sync_key="s", cursor_field="id", table=TableName("t"))
_runs = count()


def run(
    source: Source,
    warehouse_db: str,
    stream: Stream = STREAM,
    rules: LoadRules | None = None,
    run_id: str = "",
    window: WindowRules | None = None,
) -> SyncReport:
    return sync(
        source,
        PostgresDestination(PostgresAccess(warehouse_db), TableName("t")),
        stream=stream,
        window_rules=window or WindowRules(),
        load_rules=rules or LoadRules(),
        identity=RunIdentity("dag", "task", run_id or f"run-{next(_runs)}"),
        chunk_rows=3,
    )


@pytest.mark.contract("types exact")
def test_every_value_arrives_exactly(system: SourceSystem, warehouse_db: str, warehouse: psycopg.Connection) -> None:
    exact = system.types.exact
    columns = ", ".join(f"v{n} {type_}" for n, (type_, _, _) in enumerate(exact))
    system.execute(
        f"CREATE TABLE t (id integer NOT NULL PRIMARY KEY, {columns})",
        f"INSERT INTO t VALUES (1, {', '.join(literal for _, literal, _ in exact)})",
        "INSERT INTO t (id) VALUES (2)",
    )
    assert run(system.source(STREAM), warehouse_db).counts == Counts(inserted=2)
    warehouse.execute("SET TimeZone = 'UTC'")
    for number, (type_, _, expected) in enumerate(exact):
        found = warehouse.execute(f"SELECT v{number}::text FROM t ORDER BY id").fetchall()
        assert found == [(expected,), (None,)], type_
    again = run(system.source(STREAM), warehouse_db, window=WindowRules(full_refresh=True))
    assert again.counts == Counts(skipped=2)


@pytest.mark.contract("types exact")
def test_a_key_of_any_type_can_be_resumed_behind(
    system: SourceSystem, warehouse_db: str, warehouse: psycopg.Connection
) -> None:
    for number, (type_, literal, _) in enumerate(system.types.exact):
        if any(word in type_ for word in ("text", "blob", "json", "bytea")) and "varchar" not in type_:
            continue  # MariaDB makes no key of these without a length
        bare = type_.removesuffix(" NULL")
        system.execute(
            f"CREATE TABLE k{number} (v {bare} NOT NULL, id integer NOT NULL, PRIMARY KEY (v, id))",
            *(f"INSERT INTO k{number} VALUES ({literal}, {n})" for n in (1, 2, 3)),
        )
        stream = replace(STREAM, table=TableName(f"k{number}"))
        source = system.source(stream)
        batches = [batch for batch in source.read(Window(), None) if batch.num_rows]
        position = source.position(batches[0].slice(0, 2))
        rest = [row["id"] for batch in source.read(Window(), position) for row in batch.to_pylist()]
        assert rest[-1:] == [3] and len(rest) <= 3, type_


class Broken:
    """A source that breaks off after some rows."""

    def __init__(self, source: Source, batches: int) -> None:
        self._source, self._batches = source, batches
        self.describe, self.open_window, self.position = source.describe, source.open_window, source.position

    def read(self, window: Window, after: Position | None) -> Generator[pa.RecordBatch]:
        for batch in self._source.read(window, after):
            for row in range(batch.num_rows or 1):
                if self._batches == 0:
                    raise SourceError("broken off")
                self._batches -= 1
                yield batch.slice(row, 1)


@pytest.mark.contract("resume")
@pytest.mark.parametrize("cursor", ["id", "c", "at"])
def test_a_retry_goes_on_after_the_last_complete_chunk(
    system: SourceSystem, warehouse_db: str, warehouse: psycopg.Connection, cursor: str
) -> None:
    system.execute(
        f"CREATE TABLE t (id integer NOT NULL PRIMARY KEY, c integer, at {system.types.moment})",
        *(f"INSERT INTO t VALUES ({n}, {20 - n // 2}, '2026-01-01 10:00:{n // 2:02d}')" for n in range(1, 11)),
    )
    stream = replace(STREAM, cursor_field=cursor)
    for number in range(2):  # a first load, and an increment
        with pytest.raises(SourceError):
            run(Broken(system.source(stream), 8), warehouse_db, stream, run_id=f"retried-{number}")
        report = run(system.source(stream), warehouse_db, stream, run_id=f"retried-{number}")
        assert report.counts.processed >= 10 and report.counts.inserted == 10 * (number == 0)
        if number == 0:
            system.execute("UPDATE t SET c = c + 1000, at = '2030-01-01 10:00:00'")
            warehouse.execute("UPDATE etl_sync.watermark SET cursor_value = '1' WHERE cursor_type = 'integer'")
    assert warehouse.execute("SELECT count(*), count(DISTINCT id) FROM t").fetchone() == (10, 10)
    assert warehouse.execute("SELECT count(*) FROM t WHERE c < 1000").fetchone() == (0,)


@pytest.mark.contract("schema contracts")
@pytest.mark.parametrize("contract", ["evolve", "freeze", "discard_column"])
def test_a_new_column_goes_by_the_contract(
    system: SourceSystem, warehouse_db: str, warehouse: psycopg.Connection, contract: SchemaContract
) -> None:
    system.execute("CREATE TABLE t (id integer NOT NULL PRIMARY KEY, v varchar(10))", "INSERT INTO t VALUES (1, 'a')")
    rules = LoadRules(schema_contract=contract)
    run(system.source(STREAM), warehouse_db, rules=rules)
    system.execute("ALTER TABLE t ADD COLUMN w integer", "INSERT INTO t VALUES (2, 'b', 7)")
    if contract == "freeze":
        with pytest.raises(SchemaError, match="has no column w, and schema_contract is 'freeze'"):
            run(system.source(STREAM), warehouse_db, rules=rules)
        return
    assert run(system.source(STREAM), warehouse_db, rules=rules).counts.inserted == 1
    columns = [each.name for each in warehouse.execute("SELECT * FROM t").description or []]
    assert columns == (["id", "v", "w"] if contract == "evolve" else ["id", "v"])
    noted = 'SELECT "column" FROM etl_sync.schema_change WHERE change = $$appeared$$'
    assert warehouse.execute(noted).fetchall() == [("w",)]


@pytest.mark.contract("late commits")
def test_the_record_of_the_run_says_which_protection_is_in_force(
    system: SourceSystem, warehouse_db: str, warehouse: psycopg.Connection, request: pytest.FixtureRequest
) -> None:
    system.execute("CREATE TABLE t (id integer NOT NULL PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    run(system.source(STREAM), warehouse_db)
    found: Any = warehouse.execute("SELECT protection FROM etl_sync.sync_run").fetchone()
    assert found[0] == {
        "PostgresSystem": "transactions in flight",
        "SqliteSystem": "one writer at a time",
    }.get(type(system).__name__, "fixed distance of 1000, as no lag is set")

"""A crash between the commit of a destination elsewhere and the state's: what a transform left out is not forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.journey import merging
from airflow_etl_sync.journey.extract import extract
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.carrying import FORMS, Form
from tests.contract.systems import SqliteSystem

pytestmark = pytest.mark.scenario("S12")

STREAM = Stream(sync_key="t", cursor_field="id", table=TableName("t"))
RULES = LoadRules(max_errors=1)


def without_fifths(rows: pa.Table) -> pa.Table:
    """Leaves out every fifth row and fails on the third."""
    ids = rows["id"]
    if 3 in ids.to_pylist():
        raise ValueError("three")
    return rows.filter(pc.not_equal(pc.subtract(ids, pc.multiply(pc.divide(ids, 5), 5)), 0))


@pytest.mark.parametrize("form", FORMS)
def test_counts_and_failed_records_are_those_of_one_run(
    form: Form,
    source: psycopg.Connection,
    source_db: str,
    warehouse: psycopg.Connection,
    warehouse_db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    source.execute("INSERT INTO t SELECT generate_series(1, 10)")
    system = SqliteSystem(tmp_path / "elsewhere.db", warehouse_db)
    staging = Staging(tmp_path / "staging")
    asked: Any = {"stream": STREAM, "identity": RunIdentity("d", "t", "r"), "chunk_rows": 100}
    reading, into = PostgresSource(PostgresAccess(source_db), STREAM), system.destination("t")
    extraction = None
    if form == "chain":
        extraction = extract(reading, into.engine, staging, rules=WindowRules(), **asked)

    def run() -> Counts:
        if extraction is not None:
            return load(into, staging, extraction, RULES, transform=without_fifths)
        report = sync(reading, into, window_rules=WindowRules(), load_rules=RULES, transform=without_fifths, **asked)
        return report.counts

    with monkeypatch.context() as patch:
        patch.setattr(merging, "record_merged", _die)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert [row[0] for row in system.rows("t")] == [1, 2, 4, 6, 7, 8, 9]
    assert warehouse.execute("SELECT count(*) FROM etl_sync.loaded_chunk").fetchone() == (0,)
    assert run() == Counts(inserted=7, skipped=2, errors=1)
    failed = "SELECT key, error FROM etl_sync.failed_record"
    assert warehouse.execute(failed).fetchall() == [(["3"], "ValueError: three")]


def _die(*_: Any) -> None:
    raise KeyboardInterrupt

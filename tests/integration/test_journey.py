"""The journey on two real databases: the chain and the one-task form, first load, change, and again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from airflow_etl_sync.core.model import (
    Counts,
    Extraction,
    LoadRules,
    Stream,
    TableName,
    WindowRules,
)
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError, SchemaError, SourceError, StateError
from airflow_etl_sync.journey.advance import Advanced
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from tests.carrying import Carrier

if TYPE_CHECKING:
    from collections.abc import Callable

STREAM = Stream(sync_key="orders", cursor_field="updated_at", table=TableName("orders"))
TARGET = TableName("orders")
ROWS = 2_500


class Journey:
    """Runs of one stream into one table."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.staging = carrier.staging

    def extract(self, stream: Stream = STREAM, rules: WindowRules | None = None) -> Extraction:
        return self.carrier.extract(stream, rules)

    def load(self, extraction: Extraction, rules: LoadRules | None = None) -> Counts:
        return self.carrier.load(extraction, TARGET, rules)

    def advance(self, extraction: Extraction) -> Advanced:
        return self.carrier.advance(extraction)

    def chain(self, stream: Stream = STREAM, rules: LoadRules | None = None) -> Counts:
        return self.carrier.chain(stream, TARGET, rules)

    def one_task(self, stream: Stream = STREAM, rules: LoadRules | None = None) -> Counts:
        return self.carrier.one_task(stream, TARGET, rules)

    def counts(self, form: str) -> Counts:
        return self.chain() if form == "chain" else self.one_task()


@pytest.fixture
def orders(source: psycopg.Connection) -> psycopg.Connection:
    """A source table whose rows changed an hour ago, so that no window reads them twice."""
    source.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY, status text, amount numeric(12, 2), updated_at timestamptz)"
    )
    source.execute(
        "INSERT INTO orders SELECT i, 'new', i * 1.25, now() - interval '1 hour' FROM generate_series(1, %s) AS i",
        [ROWS],
    )
    return source


@pytest.fixture
def journey(source_db: str, warehouse_db: str, tmp_path: Path) -> Journey:
    return Journey(Carrier(source_db, warehouse_db, tmp_path / "staging"))


def _change(source: psycopg.Connection) -> None:
    """Change ten rows, add one and touch five without changing anything but their cursor's past."""
    source.execute("UPDATE orders SET status = 'paid', updated_at = now() - interval '10 s' WHERE id <= 10")
    source.execute("INSERT INTO orders VALUES (9000, 'new', NULL, now() - interval '10 s')")


def _set_watermark_back(warehouse: psycopg.Connection) -> None:
    """Let the next window reach over the changes, which were dated before the margin of the first one."""
    warehouse.execute("UPDATE etl_sync.watermark SET cursor_value = (now() - interval '30 s')::text")


def _rows(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT id, status, amount, updated_at FROM orders ORDER BY id").fetchall()


@pytest.mark.parametrize("form", ["chain", "one task"])
def test_first_load_then_only_changes_then_nothing(
    form: str, journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    assert journey.counts(form) == Counts(inserted=ROWS)
    assert _rows(warehouse) == _rows(orders)

    _change(orders)
    _set_watermark_back(warehouse)
    assert journey.counts(form) == Counts(inserted=1, updated=10)
    assert _rows(warehouse) == _rows(orders)

    assert journey.counts(form) == Counts()
    assert _rows(warehouse) == _rows(orders)


def test_the_created_table_has_the_types_and_the_key_of_the_source(
    journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    journey.chain()
    types = (
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'orders'::regclass AND attnum > 0 ORDER BY attnum"
    )
    key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype = 'p'"
    assert warehouse.execute(types).fetchall() == orders.execute(types).fetchall()
    assert warehouse.execute(key).fetchall() == orders.execute(key).fetchall()


@pytest.mark.parametrize("form", ["chain", "one task"])
def test_an_empty_source_gives_an_empty_table(
    form: str, journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    orders.execute("TRUNCATE orders")
    assert journey.counts(form) == Counts()
    assert _rows(warehouse) == []


def test_every_run_is_recorded_with_its_window_and_counts(
    journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    journey.chain()
    recorded = warehouse.execute(
        "SELECT run.status, run.rows_extracted, run.inserted, run.low, run.high = watermark.cursor_value, "
        "run.finished_at > run.started_at FROM etl_sync.sync_run AS run JOIN etl_sync.watermark USING (sync_key)"
    ).fetchall()
    assert recorded == [("done", ROWS, ROWS, None, True, True)]


def test_staged_chunks_and_staging_tables_are_gone_afterwards(
    journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    journey.chain()
    left = warehouse.execute("SELECT relname FROM pg_class WHERE relname LIKE 'stage%'").fetchall()
    assert (left, list((tmp_path / "staging").iterdir())) == ([], [])


def test_loading_again_changes_nothing_and_gives_the_same_counts(
    journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    extraction = journey.extract()
    first = journey.load(extraction)
    before = warehouse.execute("SELECT xmin, id FROM orders ORDER BY id").fetchall()
    assert journey.load(extraction) == first == Counts(inserted=ROWS)
    assert warehouse.execute("SELECT xmin, id FROM orders ORDER BY id").fetchall() == before
    advanced, again = journey.advance(extraction), journey.advance(extraction)
    assert (advanced.watermark, advanced.counts) == (again.watermark, again.counts)
    assert (advanced.is_repeated, again.is_repeated) == (False, True)


def test_the_watermark_does_not_pass_a_chunk_that_is_not_loaded(
    journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    extraction = journey.extract()
    journey.load(extraction.parts(2)[0])
    with pytest.raises(StateError, match="1 of 3 chunks of 'orders' are not loaded"):
        journey.advance(extraction)
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)
    journey.load(extraction)
    assert journey.advance(extraction).counts == Counts(inserted=ROWS)


def test_a_load_into_another_database_is_refused(
    journey: Journey, orders: psycopg.Connection, new_database: Callable[[str], str]
) -> None:
    extraction = journey.extract()
    elsewhere = PostgresDestination(PostgresAccess(new_database("elsewhere")), TableName("orders"))
    with pytest.raises(StateError, match="state_conn_id"):
        load(elsewhere, journey.staging, extraction, LoadRules())


def test_a_run_that_was_overtaken_neither_loads_nor_advances(
    journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    older = journey.extract()
    orders.execute("UPDATE orders SET status = 'paid', updated_at = now() - interval '1 minute'")
    newer = journey.extract()
    journey.load(newer)
    with pytest.raises(StateError, match="A newer run of 'orders' has begun"):
        journey.load(older)
    with pytest.raises(StateError, match="A newer run of 'orders' has begun"):
        journey.advance(older)
    journey.advance(newer)
    assert _rows(warehouse) == _rows(orders)


def test_a_backfill_does_not_load_older_rows_over_those_of_a_later_run(
    journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    backfill = journey.extract(rules=WindowRules(range_start="2000-01-01"))
    orders.execute("UPDATE orders SET status = 'paid', updated_at = now() - interval '1 minute'")
    journey.chain()
    with pytest.raises(StateError, match="load the backfill with latest_wins"):
        journey.load(backfill)
    assert journey.load(backfill, LoadRules(conflict="latest_wins")) == Counts(skipped=ROWS)
    assert journey.advance(backfill).counts == Counts(skipped=ROWS)
    assert _rows(warehouse) == _rows(orders)


def test_a_try_that_is_slow_to_die_cannot_replace_a_chunk(journey: Journey, orders: psycopg.Connection) -> None:
    extraction = journey.extract()
    late = Staging(Path(journey.staging.uri))
    with journey.staging.open(extraction, extraction.chunks[0]) as file:
        late.write(extraction.extraction_id, 0, file.schema_arrow, list(file.iter_batches(10))[:1])
    assert journey.load(extraction) == Counts(inserted=ROWS)


@pytest.mark.parametrize("form", ["chain", "one task"])
@pytest.mark.parametrize("cursor_field", ["updated_at", "xmin"])
def test_the_key_is_read_whichever_columns_are_chosen(
    cursor_field: str, form: str, journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    stream = replace(STREAM, columns=("status",), cursor_field=cursor_field)
    counts = journey.chain(stream) if form == "chain" else journey.one_task(stream)
    assert counts == Counts(inserted=ROWS)
    query = "SELECT id, status FROM orders ORDER BY id"
    assert warehouse.execute(query).fetchall() == orders.execute(query).fetchall()


BAD_STREAMS = {
    "no such table": (replace(STREAM, table=TableName("nothing")), SchemaError, "has no table 'nothing'"),
    "no such cursor": (replace(STREAM, cursor_field="changed"), SchemaError, "no column 'changed'"),
    "no such column": (replace(STREAM, columns=("id", "price")), SchemaError, "price"),
    "no such column in where": (replace(STREAM, where="prize > 0"), SchemaError, "prize"),
    "broken where": (replace(STREAM, where="id >"), ConfigurationError, "syntax error"),
    "where of two": (replace(STREAM, where="id"), SchemaError, "boolean"),
    "no such key": (replace(STREAM, primary_key=("order_id",)), SchemaError, "no column 'order_id'"),
    "cursor of an unusable type": (
        replace(STREAM, cursor_field="flag", table=TableName("odd")),
        ConfigurationError,
        "cannot be a cursor",
    ),
    "no key": (replace(STREAM, table=TableName("odd")), ConfigurationError, "set primary_key"),
    "broken query": (replace(STREAM, table=None, sql="SELEC 1"), ConfigurationError, "syntax error"),
}


@pytest.mark.parametrize(("stream", "error", "words"), BAD_STREAMS.values(), ids=BAD_STREAMS)
@pytest.mark.parametrize("form", ["chain", "one task"])
def test_a_stream_that_cannot_be_read_is_refused_before_anything_moves(
    form: str,
    stream: Stream,
    error: type[EtlSyncError],
    words: str,
    journey: Journey,
    orders: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    orders.execute("CREATE TABLE odd (flag boolean, updated_at timestamptz)")
    if stream.cursor_field == "flag":
        stream = replace(stream, primary_key=("flag",))
    with pytest.raises(error, match=words) as caught:
        journey.extract(stream) if form == "chain" else journey.one_task(stream)
    assert not caught.value.is_retryable
    assert "\n" not in str(caught.value)
    if warehouse.execute("SELECT to_regclass('etl_sync.watermark')").fetchone() != (None,):
        assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)
    assert warehouse.execute("SELECT to_regclass('orders')").fetchone() == (None,)


def test_a_database_that_does_not_answer_may_be_tried_again(journey: Journey, orders: psycopg.Connection) -> None:
    journey.carrier.source_db = "postgresql://somebody:secret@127.0.0.1:1/shop"
    with pytest.raises(SourceError, match="onnection refused") as caught:
        journey.extract()
    assert caught.value.is_retryable
    assert "secret" not in str(caught.value)


BAD_TARGETS = {
    "without a key": (
        "CREATE TABLE orders (id bigint, status text, amount numeric, updated_at timestamptz)",
        "primary key",
    ),
    "that is a view": (
        "CREATE VIEW orders AS SELECT 1::bigint AS id, '' AS status, 1.0 AS amount, now() AS updated_at",
        "is no table",
    ),
}


@pytest.mark.parametrize(("statement", "words"), BAD_TARGETS.values(), ids=BAD_TARGETS)
@pytest.mark.parametrize("form", ["chain", "one task"])
def test_a_target_that_cannot_be_loaded_is_refused(
    form: str, statement: str, words: str, journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    warehouse.execute(statement)
    with pytest.raises(SchemaError, match=words):
        journey.counts(form)
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)


def test_an_absent_target_is_refused_where_none_is_to_be_created(journey: Journey, orders: psycopg.Connection) -> None:
    with pytest.raises(SchemaError, match="create_table is off"):
        journey.chain(rules=LoadRules(create_table=False))


def test_a_query_with_a_join_is_a_stream_like_any_other(
    journey: Journey, orders: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    joined = replace(
        STREAM,
        table=None,
        sql="SELECT a.id, b.status, a.amount, a.updated_at FROM orders AS a JOIN orders AS b USING (id) -- 100 %",
        primary_key=("id",),
    )
    assert journey.chain(joined) == Counts(inserted=ROWS)
    assert _rows(warehouse) == _rows(orders)

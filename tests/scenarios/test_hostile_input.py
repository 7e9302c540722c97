"""S28: what people write into arguments, extractions and staging is data, and never acts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_etl_sync.core.model import (
    Chunk,
    Counts,
    Extraction,
    LoadRules,
    RunIdentity,
    Stream,
    TableName,
    WindowRules,
)
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError, SchemaError
from tests.carrying import Carrier

pytestmark = pytest.mark.scenario("S28")

ITEMS = TableName("items", "public")
STREAM = Stream(sync_key="items", cursor_field="at", table=ITEMS)
HOSTILE = [
    "x'; DROP TABLE victim; --",
    'x"; DROP TABLE victim; --',
    "x) ; DROP TABLE victim; --",
    "$1; DROP TABLE victim",
    "%s; DROP TABLE victim",
    "pg_sleep(5)",
    "../../../../etc",
    "a\nb\r\nDROP TABLE victim;",
]


@pytest.fixture
def carrier(
    source_db: str, warehouse_db: str, source: psycopg.Connection, warehouse: psycopg.Connection, tmp_path: Path
) -> Carrier:
    """A table of ten items to be carried, and on both sides a table that somebody would like to be gone."""
    source.execute("CREATE TABLE items (id integer PRIMARY KEY, name text, at timestamptz NOT NULL DEFAULT now())")
    source.execute("INSERT INTO items SELECT n, 'x' FROM generate_series(1, 10) AS n")
    for connection in (source, warehouse):
        connection.execute("CREATE TABLE victim (a integer)")
    return Carrier(source_db, warehouse_db, tmp_path / "staging", chunk_rows=4)


def assert_unharmed(*connections: psycopg.Connection) -> None:
    for connection in connections:
        assert connection.execute("SELECT to_regclass('public.victim') IS NOT NULL").fetchone() == (True,)


def either(carrier: Carrier, stream: Stream, target: TableName, rules: LoadRules, window: WindowRules) -> None:
    """Works or is refused with an error of this package's; a bare error of a driver is a bug."""
    for carry in (carrier.chain, carrier.one_task):
        try:
            carry(stream, target, rules, window)
        except EtlSyncError as error:
            assert not error.is_retryable  # noqa: PT017


ARGUMENTS: dict[str, Any] = {
    "sync_key": lambda text: (replace(STREAM, sync_key=text), ITEMS, LoadRules(), WindowRules()),
    "cursor_field": lambda text: (replace(STREAM, cursor_field=text), ITEMS, LoadRules(), WindowRules()),
    "table": lambda text: (replace(STREAM, table=TableName(text, "public")), ITEMS, LoadRules(), WindowRules()),
    "schema": lambda text: (replace(STREAM, table=TableName("items", text)), ITEMS, LoadRules(), WindowRules()),
    "columns": lambda text: (replace(STREAM, columns=("id", text)), ITEMS, LoadRules(), WindowRules()),
    "primary_key": lambda text: (replace(STREAM, primary_key=(text,)), ITEMS, LoadRules(), WindowRules()),
    "target": lambda text: (STREAM, TableName(text, "public"), LoadRules(), WindowRules()),
    "target_schema": lambda text: (STREAM, TableName("items", text), LoadRules(), WindowRules()),
    "target_key": lambda text: (STREAM, ITEMS, LoadRules(primary_key=(text,)), WindowRules()),
    "conflict_field": lambda text: (
        *(STREAM, ITEMS),
        LoadRules(conflict="latest_wins", conflict_field=text),
        WindowRules(),
    ),
    "synced_at_column": lambda text: (STREAM, ITEMS, LoadRules(synced_at_column=text), WindowRules()),
    "initial_value": lambda text: (STREAM, ITEMS, LoadRules(), WindowRules(initial_value=text)),
    "range_start": lambda text: (STREAM, ITEMS, LoadRules(), WindowRules(range_start=text)),
    "range_end": lambda text: (STREAM, ITEMS, LoadRules(), WindowRules(range_end=text)),
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_hostile_argument(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, argument: str
) -> None:
    for number, text in enumerate(HOSTILE):
        stream, *others = ARGUMENTS[argument](text)
        if argument != "sync_key":
            stream = replace(stream, sync_key=f"items {number}")  # no text finds the watermark of the one before
        either(carrier, stream, *others)
        assert_unharmed(source, warehouse)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_argument_that_no_database_takes(argument: str) -> None:
    for text in ("a\0b", "\ud800"):
        with pytest.raises(ConfigurationError, match="holds a character that no database can store"):
            ARGUMENTS[argument](text)


@pytest.mark.parametrize("argument", ["sync_key", "table", "schema", "target", "target_schema"])
def test_a_name_that_would_be_cut_is_refused(carrier: Carrier, argument: str) -> None:
    with pytest.raises(ConfigurationError, match="is longer than"):
        carrier.chain(*ARGUMENTS[argument]("x" * 300))


def test_text_cursor_with_hostile_values(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Cursor values come back into statements as the bounds of the next window and as positions."""
    source.execute("CREATE TABLE words (word text PRIMARY KEY)")
    with source.cursor() as cursor:
        cursor.executemany("INSERT INTO words VALUES (%s)", [(text,) for text in HOSTILE])
    carrier.chunk_rows = 1
    words = TableName("words", "public")
    stream = Stream(sync_key="words", cursor_field="word", table=words)
    assert carrier.chain(stream, words) == Counts(inserted=len(HOSTILE))
    assert carrier.one_task(stream, words).inserted == 0
    assert_unharmed(source, warehouse)
    query = "SELECT word FROM words ORDER BY word"
    assert warehouse.execute(query).fetchall() == source.execute(query).fetchall()


@pytest.mark.parametrize("identity", [RunIdentity(text, text, text) for text in HOSTILE])
def test_hostile_identity(carrier: Carrier, warehouse: psycopg.Connection, identity: RunIdentity) -> None:
    carrier._next_identity = lambda: identity  # type: ignore[method-assign]
    assert carrier.chain(STREAM, ITEMS) == Counts(inserted=10)
    assert_unharmed(warehouse)


# -- an extraction that somebody has changed on its way ---------------------------------------------------

LEAVING = [
    "..",
    ".",
    "",
    "../outside",
    "/etc",
    "a/../../outside",
    "..%2foutside",
    "a\0b",
    "~",
    "s3://bucket",
    "a\\..\\b",
]


@pytest.mark.parametrize("extraction_id", LEAVING)
def test_staging_is_not_left(carrier: Carrier, tmp_path: Path, extraction_id: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "000000.parquet").write_text("precious")
    extraction = carrier.extract(STREAM)
    changed = Extraction.from_xcom({**extraction.to_json(), "extraction_id": extraction_id})
    for step in (lambda: carrier.load(changed, ITEMS), lambda: carrier.advance(changed)):
        with pytest.raises(EtlSyncError) as caught:
            step()
        assert not caught.value.is_retryable
    with pytest.raises(EtlSyncError):
        carrier.staging.remove(extraction_id)
    with pytest.raises(EtlSyncError), carrier.staging.open(changed, Chunk(0, 1, 8)):
        pass
    assert (outside / "000000.parquet").read_text() == "precious"
    assert carrier.load(extraction, ITEMS) == Counts(inserted=10)


def test_the_root_is_the_deployments_and_not_the_extractions(carrier: Carrier, tmp_path: Path) -> None:
    """The staging_uri that an extraction carries is told to people; it opens nothing."""
    extraction = carrier.extract(STREAM)
    changed = Extraction.from_xcom({**extraction.to_json(), "staging_uri": str(tmp_path / "outside")})
    assert carrier.load(changed, ITEMS) == Counts(inserted=10)


@pytest.mark.parametrize(
    "change",
    [
        {"chunks": [["../../outside", 1, 8]]},
        {"chunks": [[-1, 1, 8]]},
        {"chunks": [[0.5, 1, 8]]},
        {"chunks": [[0, "1", 8]]},
        {"chunks": [[0]]},
        {"chunks": "abc"},
        {"chunks": None},
        {"window": "all"},
        {"window": {"low": {"type": "integer"}}},
        {"primary_key": 5},
        {"primary_key": [None]},
        {"primary_key": "id"},
        {"extraction_id": None},
        {"extraction_id": ["a"]},
        {"kind": "other"},
        {"cursor_field": None},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_changed_extraction_is_refused(carrier: Carrier, change: dict[str, Any]) -> None:
    extraction = carrier.extract(STREAM)
    with pytest.raises(ConfigurationError, match=r"pass extract\.output"):
        carrier.load(Extraction.from_xcom({**extraction.to_json(), **change}), ITEMS)


@pytest.mark.parametrize("value", [None, 5, "text", "", [], [None], [5], {}, [[]], b"x", ["text"]], ids=repr)
def test_what_is_no_extraction_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="extraction"):
        Extraction.from_xcom(value)


def test_chunks_left_out_of_the_extraction_do_not_move_the_watermark(
    carrier: Carrier, warehouse: psycopg.Connection
) -> None:
    extraction = carrier.extract(STREAM)
    fewer = replace(extraction, chunks=extraction.chunks[:1])
    assert carrier.load(fewer, ITEMS) == Counts(inserted=4)
    with pytest.raises(EtlSyncError, match="2 of 3 chunks"):
        carrier.advance(fewer)
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)


def test_an_extraction_id_of_nobody_is_refused(carrier: Carrier) -> None:
    extraction = replace(carrier.extract(STREAM), extraction_id="0" * 32)
    with pytest.raises(EtlSyncError, match="not recorded"):
        carrier.load(extraction, ITEMS)


# -- staging that somebody has written into ---------------------------------------------------------------


def planted(carrier: Carrier, extraction: Extraction, table: pa.Table) -> Extraction:
    path = next((carrier.root / extraction.extraction_id).glob("000000-*.parquet"))
    pq.write_table(table, path)
    changed = replace(extraction.chunks[0], rows=table.num_rows, bytes=path.stat().st_size)
    return replace(extraction, chunks=(changed,))


def field(name: str, type_: Any, **metadata: str) -> pa.Field:
    return pa.field(name, type_, metadata={f"etl_sync.{key}": text for key, text in metadata.items()})


PLANTED_TYPES = [
    "integer); DROP TABLE victim; --",
    "integer, at integer, PRIMARY KEY (id)); DROP TABLE victim; CREATE TABLE more (x integer",
    "integer, evil text DEFAULT pg_sleep(5)",
    "serial",
    "integer DEFAULT 5",
    "integer PRIMARY KEY",
    "postgres_epoch:date); DROP TABLE victim; --",
    "postgres_epoch:date '2000-01-01' ELSE NULL END AS date) FROM etl_sync.watermark); DROP TABLE victim; --",
    "postgres_epoch:pg_sleep(5)::text::date",
    "",
]


@pytest.mark.parametrize("note", ["type", "base_type", "encoding"])
def test_a_planted_type_is_not_run(carrier: Carrier, warehouse: psycopg.Connection, note: str) -> None:
    for number, text in enumerate(PLANTED_TYPES):
        extraction = carrier.extract(replace(STREAM, sync_key=f"items {number}"))
        notes = {"type": "nonesuch", "base_type": "integer", **({note: text} if note != "type" else {"type": text})}
        schema = pa.schema(
            [field("id", pa.int32(), **notes), field("at", pa.int32(), type="integer", base_type="integer")]
        )
        table = pa.table([pa.array([1], pa.int32()), pa.array([1], pa.int32())], schema=schema)
        try:
            carrier.load(planted(carrier, extraction, table), TableName("new", "public"))
        except EtlSyncError as error:
            assert not error.is_retryable  # noqa: PT017
        else:
            columns = warehouse.execute(
                "SELECT attname, pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef"
                " ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'new'::regclass AND attnum > 0"
            ).fetchall()
            assert columns == [("id", None), ("at", None)], text
            warehouse.execute("DROP TABLE new")
        assert_unharmed(warehouse)


@pytest.mark.parametrize("text", ["postgres_epoch:pg_catalog.date", "postgres_epoch:", "date", "postgres_epoch"])
def test_a_planted_encoding_is_refused(carrier: Carrier, text: str) -> None:
    """It would become part of the merge's statement."""
    extraction = carrier.extract(STREAM)
    notes = {"type": "integer", "base_type": "integer"}
    schema = pa.schema([field("id", pa.int32(), **notes), field("at", pa.int32(), **notes, encoding=text)])
    table = pa.table([pa.array([1], pa.int32()), pa.array([1], pa.int32())], schema=schema)
    with pytest.raises(SchemaError, match="encoding that this package does not know"):
        carrier.load(planted(carrier, extraction, table), TableName("new", "public"))


def test_planted_columns_are_names(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    extraction = carrier.extract(STREAM)
    hostile = 'x" integer); DROP TABLE victim; --'
    schema = pa.schema(
        [
            field("id", pa.int32(), type="integer", base_type="integer"),
            field(hostile, pa.string(), type="text", base_type="text"),
        ]
    )
    table = pa.table([pa.array([1], pa.int32()), pa.array(["x"])], schema=schema)
    assert carrier.load(planted(carrier, extraction, table), TableName("new", "public")) == Counts(inserted=1)
    assert_unharmed(warehouse)


@pytest.mark.parametrize(
    "type_", [pa.list_(pa.int32()), pa.struct([("a", pa.int32())]), pa.null(), pa.uint8()], ids=str
)
def test_a_planted_type_of_arrow_is_refused(carrier: Carrier, type_: pa.DataType) -> None:
    extraction = carrier.extract(STREAM)
    schema = pa.schema(
        [
            field("id", pa.int32(), type="integer", base_type="integer"),
            field("at", type_, type="text", base_type="text"),
        ]
    )
    table = pa.table([pa.array([1], pa.int32()), pa.array([None], type_)], schema=schema)
    with pytest.raises(EtlSyncError) as caught:
        carrier.load(planted(carrier, extraction, table), TableName("new", "public"))
    assert not caught.value.is_retryable


def test_staging_ignores_links_that_are_no_chunks(tmp_path: Path) -> None:
    """Removing an extraction removes a link, and not what it points to."""
    precious = tmp_path / "precious"
    precious.write_text("x")
    root = tmp_path / "staging"
    (root / "abc").mkdir(parents=True)
    (root / "abc" / "000000.parquet").symlink_to(precious)
    Staging(root).remove("abc")
    assert precious.exists() and not (root / "abc").exists()

"""The nouns keep their promises: names, extractions, chunks, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors as pg
from psycopg.sql import Identifier
from sqlalchemy.exc import DBAPIError

from airflow_etl_sync.core.chunking import cut
from airflow_etl_sync.core.model import (
    Chunk,
    Counts,
    CursorValue,
    Dataset,
    Extraction,
    LoadRules,
    Origin,
    Stream,
    TableName,
    Window,
    WindowRules,
)
from airflow_etl_sync.errors import (
    ConfigurationError,
    DataError,
    DestinationError,
    EtlSyncError,
    SchemaError,
    SourceError,
    explaining,
)

# -- table names ------------------------------------------------------------------------------------------

part = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def quoted(text: str) -> str:
    return Identifier(text).as_string(None)


@given(part, st.none() | part)
def test_quoted_names_are_read_back(name: str, schema: str | None) -> None:
    text = f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)
    assert TableName.parse(text) == TableName(name, schema)
    assert TableName.parse(f"  {text}\n") == TableName(name, schema)


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = TableName.parse(text)
    except ConfigurationError:
        return
    assert name.name and name.schema != "" and "\0" not in str(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("orders", TableName("orders")),
        ("public.orders", TableName("orders", "public")),
        ("Public.Orders", TableName("Orders", "Public")),
        ('"a.b"."c""d"', TableName('c"d', "a.b")),
        ('public."a.b"', TableName("a.b", "public")),
        ('"a.b".c', TableName("c", "a.b")),
        ("t; drop table x", TableName("t; drop table x")),
        ("tä.表", TableName("表", "tä")),
    ],
)
def test_names_are_literal(text: str, name: TableName) -> None:
    assert TableName.parse(text) == name


@pytest.mark.parametrize(
    "text", ["", " ", ".", "a.", ".a", "a.b.c", '"', '""', '"a', '"a"b', '"a".', '"a"."b".c', "a\0b", 'a."b"c', '."b"']
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a table name"):
        TableName.parse(text)


# -- rules ------------------------------------------------------------------------------------------------


def test_contradicting_rules_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="exactly one of table, sql, endpoint and uri"):
        Stream(sync_key="a", cursor_field="b")
    with pytest.raises(ConfigurationError, match="exactly one of table, sql, endpoint and uri"):
        Stream(sync_key="a", cursor_field="b", table=TableName("t"), sql="SELECT 1")
    with pytest.raises(ConfigurationError, match="sync_key is empty"):
        Stream(sync_key=" ", cursor_field="b", sql="SELECT 1")
    with pytest.raises(ConfigurationError, match="cursor_field is empty"):
        Stream(sync_key="a", cursor_field="", sql="SELECT 1")
    with pytest.raises(ConfigurationError, match="exclude each other"):
        WindowRules(full_refresh=True, range_end="1")
    with pytest.raises(ConfigurationError, match="conflict 'mine' is not known: use one of source_wins"):
        LoadRules(conflict="mine")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="on_cursor_null 'drop' is not known"):
        Stream(sync_key="a", cursor_field="b", sql="SELECT 1", on_cursor_null="drop")  # type: ignore[arg-type]


def test_the_kind_of_a_window() -> None:
    assert WindowRules(lag=timedelta(1)).kind == "incremental"
    assert WindowRules(full_refresh=True).kind == "full_refresh"
    assert WindowRules(range_start="").kind == "backfill"


# -- extractions ------------------------------------------------------------------------------------------

cursors = st.none() | st.builds(CursorValue, st.sampled_from(["timestamptz", "numeric", "text"]), st.text())
windows = st.builds(Window, low=cursors, high=cursors, below=cursors, protection=st.text())
chunk_lists = st.lists(st.builds(Chunk, st.integers(0), st.integers(0), st.integers(0)), unique_by=lambda c: c.number)
extractions = st.builds(
    Extraction,
    extraction_id=st.text(min_size=1),
    sync_key=st.text(),
    kind=st.sampled_from(["incremental", "full_refresh", "backfill"]),
    window=windows,
    primary_key=st.lists(st.text()).map(tuple),
    cursor_field=st.text(),
    staging_uri=st.text(),
    host=st.text(),
    chunks=chunk_lists.map(lambda chunks: tuple(sorted(chunks, key=lambda chunk: chunk.number))),
    ordered=st.booleans(),
    origin=st.builds(Origin, st.lists(st.builds(Dataset, st.text(), st.text())).map(tuple), st.booleans()),
)


@given(extractions, st.integers(-1, 6), st.randoms())
def test_parts_are_joined_again(extraction: Extraction, count: int, random: object) -> None:
    parts = extraction.parts(count)
    assert 1 <= len(parts) <= max(count, 1)
    assert extraction.chunks == () or all(part.chunks for part in parts)
    assert not (extraction.ordered and len(parts) > 1)
    assert sorted(sum((part.chunks for part in parts), ()), key=lambda chunk: chunk.number) == list(extraction.chunks)
    handed_on = json.loads(json.dumps([part.to_json() for part in parts]))
    random.shuffle(handed_on)  # type: ignore[attr-defined]
    assert Extraction.from_xcom(handed_on) == extraction
    assert Extraction.from_xcom(handed_on * 2) == extraction
    assert Extraction.from_xcom(json.loads(json.dumps(extraction.to_json()))) == extraction
    assert sum(part.rows for part in parts) == extraction.rows


@given(extractions, extractions.filter(lambda extraction: extraction.extraction_id != "a"))
def test_two_extractions_do_not_mix(one: Extraction, other: Extraction) -> None:
    with pytest.raises(ConfigurationError, match="exactly one extraction"):
        Extraction.from_xcom([replace(one, extraction_id="a").to_json(), other.to_json()])


def test_an_extraction_is_small() -> None:
    chunks = tuple(Chunk(number, 250_000, 20_000_000) for number in range(1000))
    extraction = Extraction(
        extraction_id="0" * 32,
        sync_key="orders",
        kind="incremental",
        window=Window(),
        primary_key=("id",),
        cursor_field="at",
        staging_uri="s3://bucket",
        host="worker",
        chunks=chunks,
    )
    assert len(json.dumps(extraction.to_json())) < 30_000


@given(st.lists(st.builds(Counts, *[st.integers(0, 10**12)] * 4)))
def test_counts_add_up(counts: list[Counts]) -> None:
    total = sum(counts, Counts())
    assert total.processed == sum(one.processed for one in counts)
    assert total.to_json()["processed"] == total.inserted + total.updated + total.skipped + total.errors


# -- chunks -----------------------------------------------------------------------------------------------


def batches_of(sizes: list[tuple[int, bool]]) -> Iterator[pa.RecordBatch]:
    """Batches of numbers that go on from one to the next; some have another schema."""
    start = 0
    for size, is_wide in sizes:
        type_ = pa.int64() if is_wide else pa.int32()
        yield pa.record_batch({"n": pa.array(range(start, start + size), type_)})
        start += size


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans())), st.integers(1, 15))
def test_any_split_gives_the_same_rows(sizes: list[tuple[int, bool]], chunk_rows: int) -> None:
    found: list[int] = []
    for reader in cut(batches_of(sizes), chunk_rows):
        batches = list(reader)
        numbers = [number for batch in batches for number in batch.column("n").to_pylist()]
        assert reader.rows == len(numbers) <= chunk_rows
        assert {batch.schema for batch in batches} == {reader.schema}
        assert reader.last is batches[-1]
        found += numbers
    assert found == list(range(sum(size for size, _ in sizes)))


@given(st.integers(0, 100), st.integers(1, 30))
def test_chunks_are_full_but_for_the_last(rows: int, chunk_rows: int) -> None:
    chunks = []
    for reader in cut(batches_of([(1, False)] * rows), chunk_rows):
        list(reader)
        chunks.append(reader.rows)
    assert sum(chunks) == rows
    assert all(size == chunk_rows for size in chunks[:-1])


def test_cutting_reads_no_further_than_asked() -> None:
    asked = []

    def batches() -> Iterator[pa.RecordBatch]:
        for place in range(10):
            asked.append(place)
            yield pa.record_batch({"n": pa.array([place])})

    first = next(cut(batches(), 2))
    list(first)
    assert asked == [0, 1]


# -- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "kind", "is_retryable"),
    [
        (pg.NumericValueOutOfRange, DataError, False),
        (pg.UniqueViolation, DataError, False),
        (pg.StringDataRightTruncation, DataError, False),
        (pg.DeadlockDetected, DestinationError, True),
        (pg.SerializationFailure, DestinationError, True),
        (pg.ConnectionFailure, DestinationError, True),
        (pg.DiskFull, DestinationError, True),
        (pg.LockNotAvailable, DestinationError, True),
        (pg.QueryCanceled, DestinationError, True),
        (pg.AdminShutdown, DestinationError, True),
        (pg.IoError, DestinationError, True),
        (pg.InvalidPassword, ConfigurationError, False),
        (pg.InsufficientPrivilege, ConfigurationError, False),
        (pg.SyntaxError, ConfigurationError, False),
        (pg.InvalidCatalogName, ConfigurationError, False),
        (pg.UndefinedTable, SchemaError, False),
        (pg.UndefinedColumn, SchemaError, False),
        (pg.DatatypeMismatch, SchemaError, False),
        (pg.FeatureNotSupported, ConfigurationError, False),
    ],
)
def test_sqlstate_decides(raised: type[pg.Error], kind: type[EtlSyncError], is_retryable: bool) -> None:
    for error in (raised("secret 42\nDETAIL: secret"), DBAPIError("SELECT secret", {}, raised("secret"))):
        with pytest.raises(kind) as caught, explaining(DestinationError, "load the rows"):
            raise error
        assert type(caught.value) is kind
        assert caught.value.is_retryable is is_retryable
        assert caught.value.sqlstate == raised.sqlstate
        assert "load the rows" in str(caught.value) and "DETAIL" not in str(caught.value)
        assert kind is not DataError or "secret" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("connection refused", SourceError),
        ("server closed the connection unexpectedly", SourceError),
        ('password authentication failed for user "x"', ConfigurationError),
        ('database "x" does not exist', ConfigurationError),
        ('role "x" does not exist', ConfigurationError),
    ],
)
def test_without_a_sqlstate_the_text_decides(text: str, kind: type[EtlSyncError]) -> None:
    import psycopg

    with pytest.raises(kind), explaining(SourceError, "read"):
        raise psycopg.OperationalError(text)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), explaining(SourceError, "read"):
        raise ZeroDivisionError
    own = SchemaError("mine")
    with pytest.raises(SchemaError) as caught, explaining(SourceError, "read"):
        raise own
    assert caught.value is own


@given(st.text(min_size=1), st.none() | st.text(min_size=1))
def test_a_table_name_reads_back_what_it_writes(name: str, schema: str | None) -> None:
    try:
        table = TableName(name, schema)
    except ConfigurationError:
        return
    assert TableName.parse(str(table)) == table


def test_a_transform_leaves_what_was_read_and_not_what_each_column_was() -> None:
    origin = Origin((Dataset("postgres://host:5432", "shop.public.orders"),), is_table=True)
    assert origin.through(None) == origin
    assert origin.through(len) == Origin(origin.datasets, is_table=False)

"""Pieces of rows through a function: what comes out is counted, typed, or set aside row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_etl_sync.core.columns import ColumnTypes, is_inferred, noted, types_of
from airflow_etl_sync.core.transform import PIECE_ROWS, Transforming, chained
from airflow_etl_sync.core.transform_sql import SqlTransform
from airflow_etl_sync.errors import ConfigurationError, DataError, EtlSyncError
from airflow_etl_sync.operators._transform_terms import transform_of
from airflow_etl_sync.systems.postgres.times import encoded, is_encoded, plain_times
from airflow_etl_sync.systems.records.passing import Passing

INTEGER, VARCHAR = ColumnTypes("integer", "integer"), ColumnTypes("character varying(9)", "character varying(9)")
SCHEMA = pa.schema(
    [
        noted("id", pa.int32(), INTEGER),
        noted("name", pa.string(), VARCHAR),
        noted("price", pa.string(), ColumnTypes("numeric(9,2)", "numeric(9,2)")),
        noted("uid", pa.binary(16), ColumnTypes("uuid", "uuid")),
    ]
)


def batch_of(*ids: int) -> pa.RecordBatch:
    columns = [ids, [f"n{id_}" for id_ in ids], ["1.50" for _ in ids], [bytes([id_ % 256]) * 16 for id_ in ids]]
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def working(
    transform: Callable[[pa.Table], object], most_failures: int = 0, types: dict[str, str] | None = None
) -> Transforming:
    passing = Passing(SCHEMA, ["id"], lambda: types or {})
    return Transforming(transform, plain_times, passing.finish, most_failures)


def through(transform: Callable[[pa.Table], object], *ids: int, types: dict[str, str] | None = None) -> pa.Table:
    return pa.Table.from_batches(list(working(transform, types=types).batches([batch_of(*ids)])))


def declared(table: pa.Table) -> dict[str, str]:
    return {field.name: types_of(field).declared for field in table.schema}


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 99), max_size=9), max_size=5),
    st.sets(st.integers(0, 99)),
    st.sets(st.integers(0, 99)),
)
def test_exactly_the_rows_that_fail_are_set_aside(batches: list[list[int]], bad: set[int], dropped: set[int]) -> None:
    def transform(rows: pa.Table) -> pa.Table:
        ids = rows.column("id").to_pylist()
        if bad & {*ids}:
            raise LookupError(f"no rule for {ids}")
        return rows.filter(pa.array([id_ not in dropped for id_ in ids], pa.bool_()))

    work = working(transform, most_failures=1_000)
    loaded = [id_ for batch in work.batches(batch_of(*ids) for ids in batches) for id_ in batch.column(0).to_pylist()]
    every = [id_ for ids in batches for id_ in ids]
    assert loaded == [id_ for id_ in every if id_ not in bad | dropped]
    assert [failure.row.column("id")[0].as_py() for failure in work.failures] == [id_ for id_ in every if id_ in bad]
    assert work.dropped == len([id_ for id_ in every if id_ in dropped - bad])
    assert len(loaded) + len(work.failures) + work.dropped == len(every)


def test_pieces_are_bounded_and_asked_for_one_after_another() -> None:
    seen: list[int] = []

    def transform(rows: pa.Table) -> pa.Table:
        seen.append(rows.num_rows)
        return rows

    def batches() -> Iterator[pa.RecordBatch]:
        yield batch_of(*range(PIECE_ROWS * 2 + 1))
        raise AssertionError("nobody asked for it yet")

    made = working(transform).batches(batches())
    assert next(made).num_rows == PIECE_ROWS
    assert seen == [PIECE_ROWS]
    assert next(made).num_rows == PIECE_ROWS and next(made).num_rows == 1


def test_one_failing_row_too_many_ends_the_search() -> None:
    calls: list[int] = []

    def fail(rows: pa.Table) -> pa.Table:
        calls.append(rows.num_rows)
        raise KeyError("someone@example.com")

    with pytest.raises(
        DataError, match=r"more than 2 rows of one chunk \(KeyError, test_transform.py line \d+\)"
    ) as told:
        list(working(fail, most_failures=2).batches([batch_of(*range(1024))]))
    assert len(calls) < 20
    assert told.value.__suppress_context__ and "someone" not in str(told.value)


def test_a_row_that_is_set_aside_keeps_no_other_in_memory() -> None:
    def refuse_the_first(rows: pa.Table) -> pa.Table:
        if 0 in rows.column("id").to_pylist():
            raise ValueError
        return rows

    work = working(refuse_the_first, most_failures=1)
    list(work.batches([batch_of(*range(1_000))]))
    assert work.failures[0].row.get_total_buffer_size() < 1_000


def test_what_another_try_may_mend_is_no_fault_of_the_rows() -> None:
    def ask(rows: pa.Table) -> pa.Table:
        raise ConnectionResetError("https://user:secret@service")

    work = working(ask, most_failures=10)
    with pytest.raises(DataError, match="broke off") as told:
        list(work.batches([batch_of(1, 2)]))
    assert told.value.is_retryable and "secret" not in str(told.value) and work.failures == []


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (lambda rows: rows.drop_columns(["id"]), "leaves out 'id'"),
        (lambda rows: pa.concat_tables([rows, rows]), "gives 6 rows for 3"),
        (lambda rows: 42, "gives a value of type int"),
        (lambda rows: pl.DataFrame(rows).lazy(), "gives a value of type LazyFrame"),
        (lambda rows: rows.append_column("id", rows.column("id")), "gives the column 'id' twice"),
        (lambda rows: rows.append_column("x", pa.nulls(len(rows))), "no type for its column 'x'"),
        (SqlTransform("SELECT name FROM batch"), "leaves out 'id'"),
        (SqlTransform("SELECT *, nope FROM batch"), "transform_sql cannot be run: Binder Error"),
    ],
)
def test_a_transform_that_can_load_nothing_is_refused_whatever_may_fail(
    transform: Callable[[pa.Table], object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        list(working(transform, most_failures=1_000).batches([batch_of(1, 2, 3)]))


@pytest.mark.parametrize(
    "transform",
    [
        lambda rows: rows,
        pl.from_arrow,
        lambda rows: pl.DataFrame(rows).with_columns(pl.col("name", "price").cast(pl.Categorical)),
        lambda rows: pa.concat_tables([rows.slice(0, 1), rows.slice(1)]),
        lambda rows: rows.to_pandas(types_mapper=pd.ArrowDtype),
        lambda rows: rows.to_pandas()[lambda frame: frame["id"] > 0],
        SqlTransform("FROM batch"),
        chained([pl.from_arrow, SqlTransform("SELECT * FROM batch"), lambda rows: rows]),
    ],
)
def test_columns_that_pass_keep_their_declared_types(transform: Callable[[pa.Table], object]) -> None:
    table = through(transform, 1, 2)
    assert declared(table) == {field.name: types_of(field).declared for field in SCHEMA}
    assert table.to_pylist() == pa.Table.from_batches([batch_of(1, 2)]).to_pylist()
    assert all(is_inferred(field) for field in table.schema), "nobody vouches for their values"
    assert types_of(table.schema.field("name")).base == "character varying"


def test_others_are_told_from_their_values_or_from_the_table() -> None:
    query = (
        "SELECT id, 'x' || id AS uid, CAST(price AS DECIMAL(9, 2)) * 2 AS price, id / 2 AS half, [id] AS ids FROM batch"
    )
    made = through(SqlTransform(query), 1, 2)
    assert declared(made) == {
        "id": "integer", "uid": "text", "price": "numeric", "half": "double precision", "ids": "jsonb",
    }  # fmt: skip
    assert made.column("price").to_pylist() == ["3.00", "3.00"] and made.column("ids").to_pylist() == ["[1]", "[2]"]
    assert declared(through(SqlTransform(query), 1, types={"half": "numeric"}))["half"] == "numeric"


def test_the_first_piece_says_what_the_others_are() -> None:
    def per_piece(types: dict[int, Any]) -> Callable[[pa.Table], pa.Table]:
        return lambda rows: rows.append_column("x", pa.array([types[rows.column("id")[0].as_py()]]))

    work = working(per_piece({1: 5, 2: 6.0, 3: None}))
    table = pa.Table.from_batches(list(work.batches(map(batch_of, (1, 2, 3)))))
    assert table.column("x").to_pylist() == [5, 6, None]
    with pytest.raises(DataError, match="'x' holds texts and whole numbers"):
        list(working(per_piece({1: 5, 2: "six"})).batches(map(batch_of, (1, 2))))
    with pytest.raises(DataError, match="gives double for column 'x' in some rows and int64 in others"):
        list(working(per_piece({1: 5, 2: 0.5})).batches(map(batch_of, (1, 2))))

    def one_less(rows: pa.Table) -> pa.Table:
        return rows if rows.column("id")[0].as_py() == 1 else rows.drop_columns(["uid"])

    with pytest.raises(ConfigurationError, match="gives the column 'uid' for some rows only"):
        list(working(one_less).batches(map(batch_of, (1, 2))))


def test_a_query_reaches_no_file_no_variable_and_no_setting(tmp_path: Any) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    rows = pa.Table.from_batches([batch_of(1)])
    for query in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"SELECT * FROM '{tmp_path}/secret.csv'",
        f"SELECT * FROM glob('{tmp_path}/*')",
        "SELECT * FROM 'http://127.0.0.1:1/x.csv'",
        "SELECT * FROM rows",
    ):
        with pytest.raises(ConfigurationError, match="transform_sql cannot be run"):
            SqlTransform(query)(rows)
    for query in (f"COPY batch TO '{tmp_path}/x.csv'", "SET enable_external_access = true", "SELECT 1; SELECT 2", ""):
        with pytest.raises(ConfigurationError, match="must be one SELECT"):
            SqlTransform(query)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_values_that_a_query_fails_on_are_told_nowhere() -> None:
    query = SqlTransform("SELECT id, CAST(name AS INTEGER) AS name FROM batch")
    with pytest.raises(DataError, match="fails on a piece of 2 rows") as told:
        list(working(query).batches([batch_of(1, 2)]))
    assert "n1" not in str(told.value)


AS_IT_IS = SqlTransform("FROM batch")
FIRST, LAST = -211_813_488_000_000_000, 9_222_425_352_054_775_805
"""PostgreSQL's first timestamp, and the last that Arrow can tell, in microseconds from 2000 on."""


@settings(deadline=None, max_examples=50)
@given(st.lists(st.none() | st.integers(FIRST, LAST) | st.sampled_from([2**63 - 1, -(2**63)])))
def test_postgres_s_own_times_come_back_from_a_transform(values: list[int | None]) -> None:
    field = noted("at", pa.int64(), INTEGER, {b"etl_sync.encoding": b"postgres_epoch:timestamptz"})
    batch = pa.RecordBatch.from_arrays([pa.array(values, pa.int64())], schema=pa.schema([field]))
    plain = plain_times(batch)
    assert plain.schema.field("at").type == pa.timestamp("us", "UTC")
    for carried in (plain, pl.from_arrow(plain).to_arrow(), AS_IT_IS(plain)):
        array = carried.column("at").combine_chunks().cast(pa.timestamp("us", "UTC"))
        assert encoded("at", array, is_encoded=is_encoded(field)).to_pylist() == values
    for value, moment in zip(values, plain.column("at").to_pylist() if _writable(values) else [], strict=False):
        assert value is None or (moment - datetime(2000, 1, 1, tzinfo=timezone.utc)).total_seconds() == value / 10**6


def _writable(values: list[int | None]) -> bool:
    return all(value is None or abs(value) < 10**15 for value in values)


def test_a_time_too_far_for_arrow_is_a_failed_record() -> None:
    field = noted("at", pa.int64(), INTEGER, {b"etl_sync.encoding": b"postgres_epoch:timestamp"})
    batch = pa.RecordBatch.from_arrays([pa.array([0, 2**63 - 2])], schema=pa.schema([field]))
    with pytest.raises(DataError, match="'at' holds a time that lies too far ahead"):
        plain_times(batch)
    days = noted("day", pa.int32(), INTEGER, {b"etl_sync.encoding": b"postgres_epoch:date"})
    batch = pa.RecordBatch.from_arrays([pa.array([0, 2**31 - 1], pa.int32())], schema=pa.schema([days]))
    assert plain_times(batch).column("day")[0].as_py() == date(2000, 1, 1)


def test_a_column_without_such_times_takes_none_from_a_transform() -> None:
    endless = pa.array([2**63 - 1], pa.timestamp("us"))
    with pytest.raises(DataError, match="lie too far off"):
        encoded("at", endless, is_encoded=False)


class Given:
    """An operator's arguments."""

    def __init__(self, transform: Any = None, transform_sql: Any = None, lookups: Any = None) -> None:
        self.transform, self.transform_sql, self.lookups = transform, transform_sql, lookups


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Given(transform=5), "transform must be a function"),
        (Given(transform="upper"), "transform must be a function, the path"),
        (Given(transform="no.such.function"), "transform 'no.such.function' cannot be imported"),
        (Given(lookups={"a": "public.a"}), "lookups are joined by transform_sql, which is missing"),
        (Given(transform_sql="SELECT", lookups={}), "transform_sql cannot be read"),
        (Given(transform_sql="FROM batch", lookups={"Batch": "/x.csv"}), "cannot be read from its file"),
        (Given(transform_sql="FROM batch", lookups={"a": "lookups/a.csv"}), "give its whole path"),
        (Given(transform_sql="FROM batch", lookups={"a": "s3://key:secret@b/a.csv"}), "must not hold a secret"),
    ],
)
def test_arguments_that_make_no_transform_are_refused(asked: Given, said: str) -> None:
    with pytest.raises(EtlSyncError, match=said) as told:
        transform_of(asked, None)  # type: ignore[arg-type]
    assert "key:" not in str(told.value)


def test_a_lookup_from_a_file_keeps_its_texts(tmp_path: Any) -> None:
    (tmp_path / "codes.csv").write_text('code,name\n007,"Bond"\n008,\n')
    query = "SELECT batch.*, codes.name AS agent FROM batch LEFT JOIN codes ON codes.code = format('{:03d}', batch.id)"
    transform = transform_of(Given(transform_sql=query, lookups={"codes": str(tmp_path / "codes.csv")}), None)  # type: ignore[arg-type]
    assert transform is not None
    assert through(transform, 7, 8).column("agent").to_pylist() == ["Bond", None]


def test_functions_follow_the_query_in_their_order() -> None:
    doubled = lambda rows: rows.set_column(0, "id", pc.multiply(rows.column("id"), 2))  # noqa: E731
    asked = Given(
        [doubled, "airflow_etl_sync.core.transform.as_table", pl.from_arrow], "SELECT id + 1 AS id FROM batch"
    )
    transform = transform_of(asked, None)  # type: ignore[arg-type]
    assert transform is not None
    assert through(transform, 1, 2).column("id").to_pylist() == [4, 6]

"""Records that a function gives, loaded into a real table: types, counts, tries and the watermark."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address
from itertools import cycle
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pytest

from airflow_etl_sync.core.model import LoadRules, RunIdentity, TableName
from airflow_etl_sync.core.records import RecordRules
from airflow_etl_sync.errors import ConfigurationError, DataError, EtlSyncError, SchemaError
from airflow_etl_sync.journey.records import FunctionError, load_records
from airflow_etl_sync.journey.watermark import show
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination

if TYPE_CHECKING:
    import psycopg

UTC = timezone.utc
ID = UUID("12345678-1234-5678-1234-567812345678")


def naive(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass
class Target:
    """A table, and runs of one task that loads records into it."""

    conninfo: str
    runs: int = 0
    handed: list[Any] = field(default_factory=list)
    """The watermarks that the function was given."""

    def load(
        self, records: Any, *, is_retry: bool = False, chunk_rows: int = 1_000, rules: dict[str, Any] | None = None,
        **load_rules: Any,
    ) -> dict[str, int]:  # fmt: skip
        self.runs += not is_retry
        destination = PostgresDestination(PostgresAccess(self.conninfo), TableName("copy", "public"))

        def give(watermark: Any) -> Any:
            self.handed.append(watermark)
            return records(watermark) if callable(records) else records

        report = load_records(
            give, destination, rules=RecordRules(sync_key="records", **(rules or {})),
            load_rules=LoadRules(**{"primary_key": ("id",), **load_rules}),
            identity=RunIdentity("dag", "task", f"run {self.runs}"), chunk_rows=chunk_rows, try_number=1 + is_retry,
        )  # fmt: skip
        return report.counts.to_json()

    @property
    def watermark(self) -> tuple[Any, Any]:
        cursor = show(PostgresAccess(self.conninfo).engine(), "records").standing.watermark.cursor
        return (cursor.text, cursor.type) if cursor else (None, None)


@pytest.fixture
def target(warehouse_db: str) -> Target:
    return Target(warehouse_db)


def counted(inserted: int = 0, updated: int = 0, skipped: int = 0, errors: int = 0) -> dict[str, int]:
    processed = inserted + updated + skipped + errors
    return {
        "processed": processed, "inserted": inserted, "updated": updated, "skipped": skipped, "errors": errors,
    }  # fmt: skip


def rows(warehouse: psycopg.Connection, columns: str = "*") -> list[tuple[Any, ...]]:
    return warehouse.execute(f"SELECT {columns} FROM public.copy ORDER BY id", prepare=False).fetchall()


def types(warehouse: psycopg.Connection) -> dict[str, str]:
    query = """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = 'public.copy'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
    return dict(warehouse.execute(query, prepare=False).fetchall())


VALUES: dict[str, tuple[Any, str, Any]] = {
    "a_boolean": (True, "boolean", True),
    "an_int": (-(2**63), "bigint", -(2**63)),
    "a_huge_int": (2**63, "numeric", Decimal(2**63)),
    "a_float": (0.1 + 0.2, "double precision", 0.1 + 0.2),
    "an_infinite_float": (float("-inf"), "double precision", float("-inf")),
    "a_decimal": (Decimal("12345678901234567890.10"), "numeric", Decimal("12345678901234567890.10")),
    "a_text": ("żółw 🐢 ', \\", "text", "żółw 🐢 ', \\"),
    "bytes_": (b"\x00\xff", "bytea", b"\x00\xff"),
    "a_moment": (
        datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))),
        "timestamp with time zone",
        datetime(2026, 1, 1, 10, tzinfo=UTC),
    ),
    "a_naive_time": (naive("0001-01-01T00:00"), "timestamp without time zone", naive("0001-01-01T00:00")),
    "a_date": (date(9999, 12, 31), "date", date(9999, 12, 31)),
    "a_time": (time(23, 59, 59, 999_999), "time without time zone", time(23, 59, 59, 999_999)),
    "a_time_with_zone": (time(1, 2, tzinfo=UTC), "time with time zone", time(1, 2, tzinfo=UTC)),
    "a_duration": (timedelta(days=-1, microseconds=1), "interval", timedelta(days=-1, microseconds=1)),
    "a_uuid": (ID, "uuid", ID),
    "a_list": ([1, "a", None, 1.5], "jsonb", [1, "a", None, 1.5]),
    "a_mapping": ({"at": datetime(2026, 1, 1, tzinfo=UTC), "id": ID, "n": {"m": [True]}}, "jsonb", {
        "at": "2026-01-01T00:00:00+00:00", "id": str(ID), "n": {"m": [True]},
    }),
}  # fmt: skip


def test_types_are_told_from_values_and_every_value_arrives(target: Target, warehouse: psycopg.Connection) -> None:
    record = {"id": 1, **{name: value for name, (value, _, _) in VALUES.items()}}
    nothing: dict[str, Any] = {"id": 2, **dict.fromkeys(VALUES)}
    assert target.load([record, nothing]) == counted(inserted=2)
    assert types(warehouse) == {"id": "bigint", **{name: type_ for name, (_, type_, _) in VALUES.items()}}
    first, second = rows(warehouse)
    assert first == (1, *(arrived for _, _, arrived in VALUES.values()))
    assert second == (2, *[None] * len(VALUES))
    assert target.load([record, nothing]) == counted(skipped=2), "the same again changes nothing"


def test_arrow_polars_and_pandas_in_one_generator(target: Target, warehouse: psycopg.Connection) -> None:
    class SpeaksArrow:
        """What polars, DuckDB and pandas have in common."""

        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return pa.table({"id": [3], "name": pa.array(["c"], pa.string_view())}).__arrow_c_stream__(requested_schema)

    def give(_: Any) -> Iterator[Any]:
        yield {"id": 1, "name": "a"}
        yield [{"id": 2, "name": "b"}]
        yield SpeaksArrow()
        yield pa.record_batch({"id": [4, 5], "name": pa.array(["d", "d"]).dictionary_encode()})
        yield pa.table({"name": ["f"], "id": pa.array([6], pa.int8())})

    assert target.load(give) == counted(inserted=6)
    assert rows(warehouse, "id, name") == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "d"), (6, "f")]


def test_arrow_types(target: Target, warehouse: psycopg.Connection) -> None:
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int32()),
            "small": pa.array([1, None], pa.uint8()),
            "big": pa.array([2**64 - 1, None], pa.uint64()),
            "single": pa.array([0.1, None], pa.float32()),
            "exact": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "moment": pa.array([1_700_000_000_000_000_000, None], pa.timestamp("ns", "Europe/Berlin")),
            "day": pa.array([86_400_000, None], pa.date64()),
            "items": pa.array([[1, 2], None]),
            "nested": pa.array([{"a": 1}, None]),
            "nothing": pa.nulls(2),
            "long": pa.array([1_500_000, None], pa.duration("us")),
        }
    )
    assert target.load(table) == counted(inserted=2)
    assert types(warehouse) == {
        "id": "integer", "small": "smallint", "big": "numeric", "single": "real", "exact": "numeric",
        "moment": "timestamp with time zone", "day": "date", "items": "jsonb", "nested": "jsonb", "long": "interval",
    }  # fmt: skip
    [first, _] = rows(warehouse, "big, exact, moment, day, items, nested, long, single::text")
    assert first == (
        Decimal(2**64 - 1), Decimal("1.50"), datetime.fromtimestamp(1_700_000_000, UTC), date(1970, 1, 2), [1, 2],
        {"a": 1}, timedelta(seconds=1.5), "0.1",
    )  # fmt: skip


REFUSED: list[tuple[Any, str]] = [
    (None, "type NoneType: return or yield records"),
    (["text"], "type str: return or yield records"),
    ([[[[{"id": 1}]]]], "type list: return or yield records"),
    ([{"id": 1, "a": 1}, {"id": 2}], "Not every record has the field 'a'"),
    ([{"id": 1}, {"id": 2, "a": 1}], "Not every record has the field 'a'"),
    ([{"id": 1, "a": 1}, {"id": 2, "a": "x"}], "'a' holds texts and whole numbers: convert"),
    ([{"id": 1, "a": naive("2026-01-01")}, {"id": 2, "a": datetime(2026, 1, 1, tzinfo=UTC)}], "with a zone and"),
    ([{"id": 1, "a": date(2026, 1, 1)}, {"id": 2, "a": naive("2026-01-01")}], "dates and times without a zone"),
    ([{"id": 1, "a": object()}], "type object, for which there is no rule"),
    ([{"id": 1, "a": {1, 2}}], "type set, for which there is no rule"),
    ([{"id": 1, "a": [float("nan")]}], "NaN, infinity or itself inside"),
    ([{"id": 1, "a": [Decimal(1)]}], "a Decimal inside"),
    ([{"id": 1, "a": "x\0y"}], "the character NUL"),
    ([{"id": 1, "a": "\ud800"}], "halves of characters"),
    ([{"id": 1, 2: "x"}], "whose name is no text"),
    ([{"id": 1, "é" * 32: "x"}], "longer than 63 bytes"),
    ([{"id": None}], "No record has anything in 'id', which primary_key names"),
    ([{"a": 1}], "No record has anything in 'id', which primary_key names"),
    (pa.table({"id": [1], "a": pa.array([1], pa.timestamp("ns"))}), "finer than a microsecond"),
    (pa.table({"id": [1], "a": pa.array([2**62], pa.timestamp("us"))}), "outside of the years 1 to 9999"),
    (pa.table([[1], [2]], ["id", "id"]), "Not every record has the field 'id' (once each)"),
]  # fmt: skip


def test_what_has_no_rule_is_refused_in_one_sentence_and_nothing_is_changed(
    target: Target, warehouse: psycopg.Connection
) -> None:
    for given, said in REFUSED:
        with pytest.raises(EtlSyncError) as refused:
            target.load(given)
        assert said in str(refused.value)
        assert not refused.value.is_retryable
    assert warehouse.execute("SELECT to_regclass('public.copy')").fetchone() == (None,)
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)


HELD: list[tuple[str, Any, Any]] = [
    ("numeric(10,2)", 19.99, Decimal("19.99")),
    ("numeric(10,2)", "19.99", Decimal("19.99")),
    ("integer", Decimal("5.0"), 5),
    ("smallint", 5.0, 5),
    ("double precision", 5, 5.0),
    ("text", 5, "5"),
    ("text", True, "true"),
    ("text", {"a": 1}, '{"a": 1}'),
    ("boolean", 1, True),
    ("boolean", "no", False),
    ("timestamptz", "2026-01-01T12:00:00+02:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
    ("timestamptz", "2026-01-01T12:00:00Z", datetime(2026, 1, 1, 12, tzinfo=UTC)),
    ("timestamp", date(2026, 1, 1), naive("2026-01-01T00:00")),
    ("date", "2026-01-31", date(2026, 1, 31)),
    ("date", naive("2026-01-31T00:00"), date(2026, 1, 31)),
    ("uuid", str(ID), ID),
    ("jsonb", '{"a": [1]}', {"a": [1]}),
    ("jsonb", 5, 5),
    ("text[]", ["a", None, 'b"\\'], ["a", None, 'b"\\']),
    ("integer[]", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    ("varchar(3)", "abc", "abc"),
    ("inet", "10.0.0.1", IPv4Address("10.0.0.1")),
]
BENT: list[tuple[str, Any]] = [
    ("numeric(10,2)", 0.1 + 0.2),
    ("numeric(10,2)", "0.005"),
    ("integer", 1.5),
    ("integer", "1.5"),
    ("integer", True),
    ("boolean", 5),
    ("varchar(3)", "abcd"),
    ("text", b"x"),
    ("bytea", "x"),
    ("timestamptz", naive("2026-01-01T00:00")),
    ("timestamptz", date(2026, 1, 1)),
    ("timestamptz", "2026-01-01T12:00:00"),
    ("timestamptz", "2026-01-01"),
    ("timestamp", datetime(2026, 1, 1, tzinfo=UTC)),
    ("timestamp", "2026-01-01T12:00:00+02:00"),
    ("time", time(1, tzinfo=UTC)),
    ("date", naive("2026-01-01T01:00:00")),
    ("date", "2026-01-01T23:00:00"),
    ("jsonb", "no json"),
    ("uuid", "no uuid"),
    ("timestamp(0)", naive("2026-01-01T00:00:00.500000")),
    ("char(1)", ["x"]),
]


def make(target: Target, warehouse: psycopg.Connection, type_: str) -> dict[str, str]:
    """Make the target afresh, with a column of a type; its types."""
    warehouse.execute("DROP TABLE IF EXISTS public.copy")
    warehouse.execute(f"CREATE TABLE public.copy (id bigint PRIMARY KEY, a {type_}, kept text DEFAULT 'kept')")
    return types(warehouse)


def test_the_table_s_type_decides(target: Target, warehouse: psycopg.Connection) -> None:
    for (type_, value, arrived), contract in zip(HELD, cycle(["freeze", "evolve", "discard_column"]), strict=False):
        before = make(target, warehouse, type_)
        target.load([{"id": 1, "a": value}], schema_contract=contract)
        target.load([{"id": 1, "a": None}], schema_contract=contract)
        assert target.load([{"id": 1, "a": value}], schema_contract=contract) == counted(updated=1)
        assert rows(warehouse, "a, kept") == [(arrived, "kept")], (type_, value, contract)
        assert types(warehouse) == before


def test_what_the_table_s_type_would_bend_is_refused(target: Target, warehouse: psycopg.Connection) -> None:
    for type_, value in BENT:
        before = make(target, warehouse, type_)
        with pytest.raises((DataError, SchemaError)):
            target.load([{"id": 1, "a": value}], schema_contract="freeze")
        assert (rows(warehouse), types(warehouse)) == ([], before), (type_, value)


def test_later_records_may_widen_a_column_within_numbers(target: Target, warehouse: psycopg.Connection) -> None:
    numbers = [1, 2, 2.5, Decimal("1e-20")]
    records = [{"id": number, "a": value} for number, value in enumerate(numbers)]
    assert target.load(records, chunk_rows=1) == counted(inserted=4)
    assert types(warehouse)["a"] == "numeric"
    assert [row[0] for row in rows(warehouse, "a")] == [Decimal(1), Decimal(2), Decimal("2.5"), Decimal("1e-20")]


def test_later_records_of_another_kind_are_refused(target: Target, warehouse: psycopg.Connection) -> None:
    with pytest.raises(DataError):
        target.load([{"id": 1, "a": True}, {"id": 2, "a": 5}], chunk_rows=1)
    assert rows(warehouse) == [(1, True)]
    with pytest.raises(DataError):
        target.load([{"id": 2, "a": 5}])
    assert rows(warehouse) == [(1, True)]


def test_a_column_without_values_waits_for_its_type(target: Target, warehouse: psycopg.Connection) -> None:
    assert target.load([{"id": 1, "a": None}]) == counted(inserted=1)
    assert types(warehouse) == {"id": "bigint"}
    assert target.load([{"id": 1, "a": date(2026, 1, 1)}]) == counted(updated=1)
    assert types(warehouse) == {"id": "bigint", "a": "date"}
    assert target.load([{"id": 1, "a": None}]) == counted(updated=1), "once it is there, None is NULL"
    assert rows(warehouse) == [(1, None)]


def test_types_may_be_given(target: Target, warehouse: psycopg.Connection) -> None:
    given = {"column_types": {"a": "numeric(10,2)", "b": "inet", "c": "text"}}
    records = [{"id": 1, "a": "1.50", "b": None, "c": 5}, {"id": 2, "a": 2, "b": "10.0.0.1", "c": "x"}]
    assert target.load(records, rules=given) == counted(inserted=2)
    assert types(warehouse) == {"id": "bigint", "a": "numeric(10,2)", "b": "inet", "c": "text"}
    assert rows(warehouse, "a, c") == [(Decimal("1.50"), "5"), (Decimal("2.00"), "x")]


@pytest.mark.parametrize(
    ("column_types", "value"), [({"a": "numric"}, "1"), ({"a": "numeric(10,2)"}, "1.005"), ({"a": "int; DROP"}, 1)]
)
def test_a_type_that_is_none_or_bends_a_value_is_refused(
    column_types: dict[str, str], value: Any, target: Target, warehouse: psycopg.Connection
) -> None:
    with pytest.raises(EtlSyncError):
        target.load([{"id": 1, "a": value}], rules={"column_types": column_types}, schema_contract="freeze")
    assert warehouse.execute("SELECT to_regclass('public.copy')").fetchone() == (None,)


def test_columns_choose_and_fill_up(target: Target, warehouse: psycopg.Connection) -> None:
    records = [{"id": 1, "a": 1, "other": object()}, {"id": 2}]
    assert target.load(records, rules={"columns": ("id", "a")}) == counted(inserted=2)
    assert rows(warehouse) == [(1, 1), (2, None)]
    assert target.load([{"id": 1}], rules={"columns": ("id", "a")}) == counted(updated=1)
    assert rows(warehouse) == [(1, None), (2, None)]


def test_new_fields_go_by_the_schema_contract(target: Target, warehouse: psycopg.Connection) -> None:
    target.load([{"id": 1}])
    with pytest.raises(SchemaError, match="has no column a"):
        target.load([{"id": 1, "a": 1}], schema_contract="freeze")
    assert target.load([{"id": 2, "a": 1}], schema_contract="discard_column") == counted(inserted=1)
    assert types(warehouse) == {"id": "bigint"}
    assert target.load([{"id": 2, "a": 1}]) == counted(updated=1)
    assert rows(warehouse) == [(1, None), (2, 1)]


def test_rows_that_the_table_refuses_become_failed_records(target: Target, warehouse: psycopg.Connection) -> None:
    warehouse.execute("CREATE TABLE public.copy (id bigint PRIMARY KEY, a integer CHECK (a > 0))")
    records = [{"id": 1, "a": 1}, {"id": 2, "a": -1}, {"id": 3, "a": 3}, {"id": 4, "a": "x"}]
    assert target.load(records[:3], max_errors=1) == counted(inserted=2, errors=1)
    assert target.load(records[3:], max_errors=1) == counted(errors=1)
    assert rows(warehouse) == [(1, 1), (3, 3)]
    stored = warehouse.execute("SELECT key, sqlstate FROM etl_sync.failed_record ORDER BY id").fetchall()
    assert stored == [(["2"], "23514"), (["4"], "22P02")]


@pytest.mark.parametrize("chunk_rows", [1, 2, 1_000])
def test_of_one_key_the_last_wins_or_with_a_cursor_the_newest_wherever_chunks_end(
    chunk_rows: int, target: Target, warehouse: psycopg.Connection
) -> None:
    newest_first = [{"id": 1, "at": 3, "a": "new"}, {"id": 2, "at": 2, "a": "x"}, {"id": 1, "at": 1, "a": "old"}]
    target.load(newest_first, chunk_rows=chunk_rows)
    assert rows(warehouse, "a") == [("old",), ("x",)]
    with_cursor: dict[str, Any] = {"rules": {"cursor_field": "at"}, "conflict": "latest_wins", "conflict_field": "at"}
    target.load(newest_first, chunk_rows=chunk_rows, **with_cursor)
    assert rows(warehouse, "a") == [("new",), ("x",)]


def by_cursor(records: Sequence[dict[str, Any]]) -> Any:
    """A function as an author would write it: what has changed from the watermark on."""
    return lambda watermark: [each for each in records if watermark is None or each["at"] >= watermark]


CURSORS: dict[str, tuple[list[Any], str]] = {
    "timestamptz": (
        [datetime(2026, 1, day, 1, 2, 3, 4, tzinfo=UTC) for day in (1, 2, 3)], "2026-01-03 01:02:03.000004+00",
    ),
    "timestamp": ([naive(f"2026-01-0{day}") for day in (1, 2, 3)], "2026-01-03 00:00:00"),
    "date": ([date(2026, 1, day) for day in (1, 2, 3)], "2026-01-03"),
    "integer": ([1, 2, 10], "10"),
    "numeric": ([Decimal("1.5"), Decimal(2), Decimal("10.25")], "10.25"),
    "text": (["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"], "2026-01-03T00:00:00Z"),
}  # fmt: skip


@pytest.mark.parametrize("cursor_type", sorted(CURSORS))
def test_the_watermark_is_the_highest_cursor_and_handed_to_the_next_run(cursor_type: str, target: Target) -> None:
    values, text = CURSORS[cursor_type]
    records = [{"id": number, "at": value} for number, value in enumerate(values)]
    rules = {"cursor_field": "at"}
    assert target.load(by_cursor(records[::-1]), rules=rules) == counted(inserted=3)
    assert target.watermark == (text, cursor_type)
    assert target.load(by_cursor(records), rules=rules) == counted(skipped=1), "that cursor included"
    assert target.load([], rules=rules) == counted()
    assert target.load([{"id": 0, "at": values[0]}], rules=rules) == counted(skipped=1)
    assert target.watermark == (text, cursor_type), "it never goes back"
    assert target.load(by_cursor(records), rules=rules | {"full_refresh": True}) == counted(skipped=3)
    assert target.handed == [None, values[2], values[2], values[2], None]
    assert target.watermark == (text, cursor_type)


@pytest.mark.parametrize("kind", ["arrow", "records"])
@pytest.mark.parametrize(
    "ahead",
    [datetime(2099, 1, 1, tzinfo=UTC), naive("2099-01-01T00:00"), date(2099, 1, 1)],
    ids=["moment", "naive", "date"],
)
def test_a_record_dated_2099_is_loaded_and_freezes_nothing(ahead: Any, kind: str, target: Target) -> None:
    now = datetime.now(UTC)
    records = [{"id": 1, "at": ahead}]
    given: Any = records if kind == "records" else pa.Table.from_pylist(records)
    assert target.load(given, rules={"cursor_field": "at"}) == counted(inserted=1)
    assert str(now.date() - timedelta(days=1)) < str(target.watermark[0]) < str(now.date() + timedelta(days=3))


@pytest.mark.parametrize(
    ("value", "lag", "text"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), timedelta(hours=1), "2026-01-01 23:00:00+00"),
        (date(2026, 1, 2), timedelta(hours=1), "2026-01-01"),
        (100, 7, "93"),
    ],
)
def test_the_watermark_stays_behind_by_the_lag(value: Any, lag: Any, text: str, target: Target) -> None:
    target.load([{"id": 1, "at": value}], rules={"cursor_field": "at", "lag": lag})
    assert target.watermark[0] == text


@pytest.mark.parametrize(
    ("records", "rules", "said"),
    [
        ([{"id": 1, "at": 1.5}], {}, "holds floats: a cursor is"),
        ([{"id": 1, "at": 1}, {"id": 2, "at": "x"}], {}, "holds texts and whole numbers"),
        ([{"id": 1}], {}, "No record has the cursor_field 'at'"),
        ([{"id": 1, "at": 1}], {"lag": timedelta(1)}, "lag is a duration for a cursor that is a time"),
        ([{"id": 1, "at": "x"}], {"lag": 1}, "lag is a duration for a cursor that is a time"),
        ([{"id": 1, "at": date(1, 1, 1)}], {"lag": timedelta(5)}, "longer than there is time"),
        ([{"id": 1, "at": 1}], {"columns": ("id",)}, "columns lacks the cursor_field 'at'"),
    ],
)
def test_what_is_no_cursor_is_refused_and_there_is_no_watermark(
    records: Any, rules: dict[str, Any], said: str, target: Target, warehouse: psycopg.Connection
) -> None:
    with pytest.raises(EtlSyncError) as refused:
        target.load(records, rules={"cursor_field": "at", **rules})
    assert said in str(refused.value)
    exists = warehouse.execute("SELECT to_regclass('etl_sync.watermark') IS NOT NULL").fetchone()
    assert exists == (False,) or warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)


def test_records_without_a_cursor_are_loaded_and_move_nothing(target: Target) -> None:
    assert target.load([{"id": 1, "at": None}], rules={"cursor_field": "at"}) == counted(inserted=1)
    before, _ = target.watermark
    target.load([{"id": 1, "at": None}, {"id": 2, "at": 5}], rules={"cursor_field": "at"})
    assert (before, *target.watermark) == (None, "5", "integer")


def test_a_cursor_of_another_type_than_the_watermark_is_refused(target: Target, warehouse: psycopg.Connection) -> None:
    target.load([{"id": 1, "at": 5}], rules={"cursor_field": "at"})
    with pytest.raises(ConfigurationError, match="is of type integer, and the records' cursor is of type text"):
        target.load([{"id": 1, "at": "6"}], rules={"cursor_field": "at"})
    assert target.watermark == ("5", "integer")


def failing_after(records: Sequence[dict[str, Any]]) -> Any:
    def give(_: Any) -> Iterator[dict[str, Any]]:
        yield from records
        raise OSError("the API broke off")

    return give


def test_a_function_that_fails_moves_no_watermark_and_is_asked_again_for_the_same(
    target: Target, warehouse: psycopg.Connection
) -> None:
    records = [{"id": number, "at": number} for number in range(10)]
    rules = {"cursor_field": "at"}
    target.load(records[:1], rules=rules)
    with pytest.raises(FunctionError) as failed:
        target.load(failing_after(records[:7]), rules=rules, chunk_rows=3)
    assert isinstance(failed.value.__cause__, OSError)
    assert target.watermark == ("0", "integer")
    assert len(rows(warehouse)) == 6, "the chunks that were complete"

    counts = target.load(by_cursor(records), rules=rules, chunk_rows=3, is_retry=True)
    assert counts == counted(inserted=9, skipped=1 + 6), "each row was inserted once, whichever try did it"
    assert target.handed == [None, 0, 0]
    assert target.watermark == ("9", "integer")
    assert len(rows(warehouse)) == 10
    run = "SELECT status, rows_extracted, inserted FROM etl_sync.sync_run ORDER BY started_at"
    assert warehouse.execute(run).fetchall() == [("done", 1, 1), ("done", 16, 9)]


def test_a_run_that_a_newer_one_has_overtaken_loads_no_older_records(
    target: Target, warehouse: psycopg.Connection
) -> None:
    def slow(_: Any) -> Iterator[dict[str, Any]]:
        yield {"id": 1, "a": "older"}
        newer = Target(target.conninfo, runs=target.runs)
        newer.load([{"id": 1, "a": "newer"}])
        yield {"id": 2, "a": "older"}

    with pytest.raises(EtlSyncError, match="A newer run of 'records' has begun"):
        target.load(slow)
    assert rows(warehouse) == [(1, "newer")]


class CountedRecord(dict[str, Any]):
    """A record that can be watched."""


def test_no_more_than_two_pieces_are_held(target: Target) -> None:
    alive: list[weakref.ref[CountedRecord]] = []
    most = 0

    def give(_: Any) -> Iterator[dict[str, Any]]:
        nonlocal most
        for number in range(60_000):
            record = CountedRecord(id=number, a="x")
            alive.append(weakref.ref(record))
            if number % 1_000 == 0:
                gc.collect()
                alive[:] = [each for each in alive if each() is not None]
                most = max(most, len(alive))
            yield record

    assert target.load(give, chunk_rows=50_000) == counted(inserted=60_000)
    assert 1_000 < most <= 10_001

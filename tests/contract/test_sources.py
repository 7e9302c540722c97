"""What every source promises, held against every system."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_etl_sync.core.model import CursorValue, Stream, TableName
from airflow_etl_sync.errors import ConfigurationError, DataError, SchemaError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.http.source import HttpSource
from tests.contract.reading import open_window, read, values
from tests.contract.systems import HttpSystem, SourceSystem, SqliteSystem

NUMBERS = Stream(sync_key="s", cursor_field="c", table=TableName("t"))
TIMES = replace(NUMBERS, cursor_field="at")


def fill(system: SourceSystem, *rows: str) -> None:
    """Make table ``t`` with a key, a cursor that is a number and one that is a time."""
    system.execute(
        f"CREATE TABLE t (id integer NOT NULL PRIMARY KEY, c integer, at {system.types.moment}, note varchar(20))",
        *(f"INSERT INTO t (id, c, at) VALUES ({row})" for row in rows),
    )


def moment(second: int) -> str:
    return f"'2026-01-01 10:00:{second:02d}'"


@pytest.mark.contract("windows tile")
def test_windows_of_times_tile_without_loss(system: SourceSystem) -> None:
    fill(system)
    source, watermark, seen = system.source(TIMES), Watermark(), set[int]()
    before = None
    for number in range(4):
        system.execute(f"INSERT INTO t (id, at) VALUES ({number}, {system.types.now})")
        window, watermark = open_window(source, watermark, lag=timedelta(seconds=1))
        assert window.low == before
        seen |= set(values(source, window))
        before = window.high
    assert seen == {0, 1, 2, 3}


@pytest.mark.contract("windows tile")
def test_windows_of_numbers_tile_without_loss(system: SourceSystem) -> None:
    fill(system, *(f"{n}, {n}, NULL" for n in range(1, 21)))
    source = system.source(replace(NUMBERS, on_cursor_null="exclude"))
    first, watermark = open_window(source, lag=5)
    assert values(source, first) == list(range(1, 21))
    assert first.high == CursorValue("integer", "15")
    system.execute("INSERT INTO t (id, c) VALUES (21, 21), (22, 16)")  # the second was drawn before, and is late
    second, _ = open_window(source, watermark, lag=5)
    assert second.low == first.high
    assert values(source, second) == [15, 16, 22, 17, 18, 19, 20, 21]
    assert second.high == CursorValue("integer", "16")


@pytest.mark.contract("windows tile")
def test_a_watermark_never_moves_backwards(system: SourceSystem) -> None:
    fill(system, "1, 5, NULL", "2, 9, NULL")
    for stored in ("9", "12"):
        before = Watermark(cursor=CursorValue("integer", stored), version=1)
        assert open_window(system.source(NUMBERS), before, lag=3)[0].high == CursorValue("integer", stored)


@pytest.mark.contract("windows tile")
def test_a_time_from_the_future_freezes_nothing(system: SourceSystem) -> None:
    fill(system, "1, 1, '2030-01-01 00:00:00'", f"2, 2, {system.types.now}")
    source = system.source(TIMES)
    first, _ = open_window(source, lag=timedelta(seconds=1))
    assert first.high is not None and first.high.text < "2029"
    assert sorted(values(source, first)) == [1, 2]


@pytest.mark.contract("late commits")
@pytest.mark.parametrize("stream", [NUMBERS, TIMES], ids=["numbers", "times"])
def test_a_row_that_is_committed_late_is_read_by_the_next_window(system: SourceSystem, stream: Stream) -> None:
    """No lag is set, so what each system does by itself must do."""
    fill(system, f"1, 1, {system.types.now}")
    source = system.source(stream)
    late = f"INSERT INTO t (id, c, at) VALUES (2, 2, {system.types.now})"
    with system.transaction(late):
        time.sleep(1.5)  # until the clock is past the row's time, which has whole seconds in some places
        if not isinstance(system, SqliteSystem):  # which lets nobody else write meanwhile
            system.execute(f"INSERT INTO t (id, c, at) VALUES (3, 3, {system.types.now})")
        first, watermark = open_window(source)
        assert 2 not in values(source, first)
    second, _ = open_window(source, watermark)
    assert 2 in values(source, second)


@pytest.mark.contract("ties at the boundary")
def test_ties_at_the_boundary_are_all_read(system: SourceSystem) -> None:
    fill(system, f"1, 1, {moment(1)}", f"2, 2, {moment(2)}", f"3, 2, {moment(2)}", f"4, 3, {moment(3)}")
    numbers, _ = open_window(system.source(NUMBERS), Watermark(cursor=CursorValue("integer", "2")))
    assert values(system.source(NUMBERS), numbers) == [2, 3, 4]
    cursor_type = open_window(system.source(TIMES))[0].high
    assert cursor_type is not None
    low = CursorValue(cursor_type.type, "2026-01-01 10:00:02" + "+00" * (cursor_type.type == "timestamptz"))
    times, _ = open_window(system.source(TIMES), Watermark(cursor=low))
    assert values(system.source(TIMES), times) == [2, 3, 4]


@pytest.mark.contract("ties at the boundary")
def test_a_backfill_takes_its_first_value_and_leaves_its_last(system: SourceSystem) -> None:
    fill(system, *(f"{n}, {n}, {moment(n)}" for n in range(1, 6)))
    for stream, start, end in ((NUMBERS, "2", "4"), (TIMES, "2026-01-01 10:00:02", "2026-01-01 10:00:04")):
        source = system.source(stream)
        window, after = open_window(source, range_start=start, range_end=end)
        assert values(source, window) == [2, 3]
        assert window.protection == "backfill" and after.cursor is None


@pytest.mark.contract("NULL cursors")
@pytest.mark.parametrize(("rule", "in_first", "in_second"), [("include", [1, 2, 3], [1, 3]), ("exclude", [2, 3], [3])])
def test_rows_without_a_cursor(system: SourceSystem, rule: Any, in_first: list[int], in_second: list[int]) -> None:
    fill(system, "1, NULL, NULL", "2, 2, NULL", "3, 3, NULL")
    source = system.source(replace(NUMBERS, on_cursor_null=rule))
    first, _ = open_window(source)
    assert sorted(values(source, first)) == in_first
    second, _ = open_window(source, Watermark(cursor=CursorValue("integer", "3")))
    if isinstance(system, HttpSystem):  # this one leaves them out of a window, as most do
        in_second = [3]
    assert values(source, second) == in_second


@pytest.mark.contract("NULL cursors")
def test_rows_without_a_cursor_can_be_refused(system: SourceSystem) -> None:
    fill(system, "1, NULL, NULL")
    with pytest.raises(DataError, match="have no value in 'c' and on_cursor_null is 'raise'"):
        open_window(system.source(replace(NUMBERS, on_cursor_null="raise")))


@pytest.mark.contract("resume")
@pytest.mark.parametrize("cursor", ["c", "at"])
@pytest.mark.parametrize("is_first", [True, False])
def test_reading_goes_on_behind_any_row(system: SourceSystem, cursor: str, is_first: bool) -> None:
    """Ties, a row without a cursor, and the end of the first batch wherever it is cut."""
    rows = [f"{n}, {n // 3}, {moment(n // 3)}" for n in range(1, 12)]
    fill(system, *rows, "12, NULL, NULL", "13, NULL, NULL")
    source = system.source(replace(NUMBERS, cursor_field=cursor))
    window, after = open_window(source)
    if not is_first:
        low = CursorValue("integer", "1") if cursor == "c" else None
        high = after.cursor
        low = low or CursorValue(high.type, "2026-01-01 10:00:01" + "+00" * (high.type == "timestamptz"))  # type: ignore[union-attr]
        window, _ = open_window(source, Watermark(cursor=low))
    with closing(source.read(window, None)) as batches:
        filled = [batch for batch in batches if batch.num_rows]
    whole = [row["id"] for batch in filled for row in batch.to_pylist()]
    assert len(whole) == len(set(whole)) and len(whole) >= (9 if isinstance(system, HttpSystem) else 11)
    for batch in filled:
        for size in range(1, batch.num_rows + 1):
            part = batch.slice(0, size)
            position = source.position(part)
            last = part.column("id")[-1].as_py()
            rest = whole[whole.index(last) + 1 :]
            assert set(values(system.source(replace(NUMBERS, cursor_field=cursor)), window, after=position)) >= set(
                rest
            )


@pytest.mark.contract("resume")
def test_a_first_read_goes_by_the_key(system: SourceSystem) -> None:
    fill(system, "3, 1, NULL", "1, 3, NULL", "2, 2, NULL")
    source = system.source(NUMBERS)
    window, _ = open_window(source)
    first = values(source, window)
    assert (sorted(first) if isinstance(system, HttpSystem) else first) == [1, 2, 3]  # an API has its own order
    increment, _ = open_window(source, Watermark(cursor=CursorValue("integer", "1")))
    assert values(source, increment) == [3, 2, 1]


@pytest.mark.contract("schema contracts")
def test_an_empty_table_tells_its_columns(system: SourceSystem) -> None:
    fill(system)
    source = system.source(NUMBERS)
    shape = source.describe()
    assert [name for name, _ in shape.columns] == ["id", "c", "at", "note"]
    assert shape.primary_key == ("id",) and shape.is_key_unique is not isinstance(system, HttpSystem)
    window, _ = open_window(source)
    with closing(source.read(window, None)) as batches:
        first = next(batches)
    assert first.num_rows == 0 and first.schema.names == ["id", "c", "at", "note"]


@pytest.mark.contract("wrong names")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cursor_field": "nope"}, "'s' has no column 'nope' to use as cursor or key; it has id, c, at, note."),
        ({"primary_key": ("nope",)}, "'s' has no column 'nope' to use as cursor or key; it has id, c, at, note."),
        ({"table": TableName("nope")}, "The source has no table 'nope', or this login may not see its schema."),
        ({"columns": ("nope",)}, "nope"),
    ],
)
def test_a_wrong_name_is_refused_in_one_sentence(system: SourceSystem, changes: dict[str, Any], said: str) -> None:
    fill(system, "1, 1, NULL")
    if isinstance(system, HttpSystem):
        said = said.replace("The source has no table 'nope', or this login may not see its schema.", "no such path")
    with pytest.raises(SchemaError) as refused:
        system.source(replace(NUMBERS, **changes)).describe()
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.contract("wrong names")
def test_a_table_without_a_key_asks_for_one(system: SourceSystem) -> None:
    system.execute("CREATE TABLE t (id integer, c integer)")
    with pytest.raises(ConfigurationError, match="set primary_key to columns that do"):
        system.source(NUMBERS).describe()
    assert not system.source(replace(NUMBERS, primary_key=("id",))).describe().is_key_unique


@pytest.mark.contract("wrong names")
def test_broken_sql_is_refused_in_one_sentence(system: SourceSystem) -> None:
    fill(system)
    with pytest.raises(ConfigurationError) as refused:
        system.source(replace(NUMBERS, where="id = = 1")).describe()
    assert "\n" not in str(refused.value) and not refused.value.is_retryable


@pytest.mark.contract("wrong names")
@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"initial_value": "yesterday"}, "initial_value is not a value of the cursor's type"),
        ({"lag": timedelta(hours=1)}, "A cursor of type integer takes a number as lag"),
    ],
)
def test_a_wrong_bound_is_refused(system: SourceSystem, rules: dict[str, Any], said: str) -> None:
    fill(system)
    with pytest.raises(ConfigurationError, match=said):
        open_window(system.source(NUMBERS), **rules)


@pytest.mark.contract("wrong names")
def test_names_are_taken_literally(system: SourceSystem) -> None:
    quote = "`" if type(system).__name__.startswith("Maria") else '"'
    name, column = f"{quote}Or der%s{quote}", f"{quote}c:x %d{quote}"
    system.execute(
        f"CREATE TABLE {name} (id integer NOT NULL PRIMARY KEY, {column} integer)", f"INSERT INTO {name} VALUES (1, 7)"
    )
    source = system.source(Stream(sync_key="s", cursor_field="c:x %d", table=TableName("Or der%s")))
    window, _ = open_window(source, initial_value="5")
    assert read(source, window) == [{"id": 1, "c:x %d": 7}]


@pytest.mark.contract("queries")
def test_only_the_named_columns_are_read(system: SourceSystem) -> None:
    fill(system, "1, 7, NULL")
    source = system.source(replace(NUMBERS, columns=("note",)))
    assert [name for name, _ in source.describe().columns] == ["note", "c", "id"]


@pytest.mark.contract("queries")
def test_a_query_is_read_like_a_table(system: SourceSystem) -> None:
    fill(system, *(f"{n}, {n}, NULL" for n in range(1, 6)))
    query = "SELECT id, c, 'a :b 100%' AS words FROM t WHERE id <> 4; "
    stream = Stream(sync_key="s", cursor_field="c", sql=query, primary_key=("id",), where="id < 5")
    if isinstance(system, HttpSystem):
        with pytest.raises(ConfigurationError, match="'s' is to be read from an API: give its endpoint"):
            HttpSource(system.api.access(), stream)
        return
    source = system.source(stream)
    window, _ = open_window(source, Watermark(cursor=CursorValue("integer", "2")))
    assert [(row["id"], row["words"]) for row in read(source, window)] == [(2, "a :b 100%"), (3, "a :b 100%")]
    assert not source.describe().is_key_unique


@pytest.mark.contract("dry run")
def test_a_plan_shows_what_would_be_read(system: SourceSystem) -> None:
    fill(system, *(f"{n}, {n}, NULL" for n in range(1, 6)))
    source = system.source(NUMBERS)
    window, _ = open_window(source, Watermark(cursor=CursorValue("integer", "2")))
    plans = source.plan(window)
    if isinstance(system, HttpSystem):
        [plan] = plans
        assert plan.statement.endswith("/t?by=…&since=1") and plan.rows == 4
        return
    assert len(plans) == 2 and all("ORDER BY" in plan.statement for plan in plans)
    assert all(plan.rows >= 0 for plan in plans)

"""What is told of a binary log in messages of pgoutput is read by the decoder of those as what was told."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from airflow_etl_sync.cdc.binlog import messages
from airflow_etl_sync.cdc.pgoutput import Decoder
from airflow_etl_sync.core.changes import Begin, Commit, Delete, Insert, Relation, RelationColumn, Truncate, Update

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)
POSITIONS = st.integers(0, 2**63 - 1)
SECONDS = st.integers(0, 2**32 - 1)
NUMBERS = st.integers(0, 2**31 - 1)
COLUMNS = st.builds(RelationColumn, NAMES, st.booleans(), NUMBERS, NUMBERS)
TABLES = st.builds(Relation, NUMBERS, NAMES, NAMES, st.just("f"), st.lists(COLUMNS, min_size=1, max_size=5).map(tuple))
VALUES = st.none() | st.text()


@st.composite
def tables_with_rows(draw: st.DrawFn) -> tuple[Relation, list[str | None], list[str | None]]:
    table = draw(TABLES)
    count = len(table.columns)
    rows = st.lists(VALUES, min_size=count, max_size=count)
    return table, draw(rows), draw(rows)


def _raw(row: list[str | None]) -> list[bytes | None]:
    return [None if value is None else value.encode() for value in row]


@given(POSITIONS, POSITIONS, SECONDS)
def test_the_bounds_of_a_transaction(at: int, end: int, second: int) -> None:
    moment = EPOCH + timedelta(seconds=second)
    assert Decoder().decode(messages.begin(at, second)) == Begin(at, moment, 0)
    assert Decoder().decode(messages.commit(at, end, second)) == Commit(at, end, moment)


@given(tables_with_rows())
def test_a_table_and_its_changes(told: tuple[Relation, list[str | None], list[str | None]]) -> None:
    table, former, row = told
    decoder = Decoder()
    assert decoder.decode(messages.relation(table)) == table
    before, after = tuple(former), tuple(row)
    assert decoder.decode(messages.insert(table.id, _raw(row))) == Insert(table, after)
    assert decoder.decode(messages.delete(table.id, _raw(row))) == Delete(table, after, is_old_key=False)
    assert decoder.decode(messages.update(table.id, _raw(row), None)) == Update(table, None, after)
    moved = messages.update(table.id, _raw(row), _raw(former))
    assert decoder.decode(moved) == Update(table, before, after, is_old_key=False)
    assert decoder.decode(messages.truncate([table.id])) == Truncate((table,))

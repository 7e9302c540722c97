"""What every source promises, held against files, which are filled in another way than databases."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_etl_sync.core.files import FileSet
from airflow_etl_sync.core.model import Counts, CursorValue, LoadRules, SchemaContract, Stream, Window
from airflow_etl_sync.errors import ConfigurationError, SchemaError, SourceError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.files.place import FilePlace
from airflow_etl_sync.systems.files.source import FileSource
from tests.contract.reading import open_window, values
from tests.contract.test_journeys import Broken, run

BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class FilesSystem:
    folder: Path

    def put(self, name: str, content: str | bytes, second: int = 0) -> None:
        """Write a file as it would have been written in a second of the past."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (BEGAN.timestamp() + second,) * 2)

    def stream(self, **changes: Any) -> Stream:
        files = FileSet.parse(f"{self.folder}/{changes.pop('pattern', '*')}", changes.pop("options", {}))
        return replace(Stream(sync_key="s", cursor_field="file_modified", primary_key=("id",), files=files), **changes)

    def source(self, stream: Stream | None = None) -> FileSource:
        stream = stream or self.stream()
        assert stream.files is not None
        return FileSource(FilePlace(fsspec.filesystem("file"), stream.files.uri, stream.files.uri), stream)


@pytest.fixture(params=["files"])
def system(tmp_path: Path) -> FilesSystem:
    """An empty folder."""
    (tmp_path / "files").mkdir()
    return FilesSystem(tmp_path / "files")


@pytest.mark.contract("windows tile")
@pytest.mark.parametrize("cursor", ["file_modified", "file_name"])
def test_windows_tile_without_loss(system: FilesSystem, cursor: str) -> None:
    source, watermark, seen, before = system.source(system.stream(cursor_field=cursor)), Watermark(), [], None
    for number in range(4):
        system.put(f"{number}.csv", f"id\n{number}\n", second=number)
        window, watermark = open_window(source, watermark)
        assert window.low == before
        seen += values(source, window)
        before = window.high
    assert seen == ["0", "1", "2", "3"]
    assert open_window(source, watermark)[0].high == before


@pytest.mark.contract("windows tile")
def test_a_watermark_never_moves_backwards(system: FilesSystem) -> None:
    system.put("a.csv", "id\n1\n")
    stored = CursorValue("timestamptz", "2026-06-01 00:00:00+00")
    assert open_window(system.source(), Watermark(cursor=stored, version=1))[0].high == stored


@pytest.mark.contract("windows tile")
def test_a_time_from_the_future_freezes_nothing(system: FilesSystem) -> None:
    system.put("far.csv", "id\n1\n", second=3_000_000_000)
    system.put("a.csv", "id\n2\n")
    source = system.source()
    window, watermark = open_window(source)
    assert window.high is not None and window.high.text < "2099" and values(source, window) == ["2", "1"]
    system.put("b.csv", "id\n3\n", second=1)
    assert values(source, open_window(source, watermark)[0]) == ["3"]


@pytest.mark.contract("late commits")
@pytest.mark.parametrize("cursor", ["file_modified", "file_name"])
def test_a_file_that_shows_up_late_is_read_by_the_next_window(system: FilesSystem, cursor: str) -> None:
    system.put("m.csv", "id\n1\n", second=100)
    source = system.source(system.stream(cursor_field=cursor))
    window, watermark = open_window(source)
    assert values(source, window) == ["1"]
    system.put("a.csv", "id\n2\n", second=-100)
    assert values(source, open_window(source, watermark)[0]) == ["2"]
    assert open_window(source, watermark)[0].protection == "every file is remembered"


@pytest.mark.contract("ties at the boundary")
def test_ties_at_the_boundary_are_all_read(system: FilesSystem) -> None:
    for number in range(4):
        system.put(f"{number}.csv", f"id\n{number}\n", second=min(number, 2))
    low = CursorValue("timestamptz", "2026-01-01 00:00:02+00")
    assert values(system.source(), open_window(system.source(), Watermark(cursor=low))[0]) == ["2", "3"]
    start, end = (BEGAN.isoformat(), (BEGAN + timedelta(seconds=2)).isoformat())
    source = system.source()
    window, after = open_window(source, range_start=start, range_end=end)
    assert values(source, window) == ["0", "1"] and window.protection == "backfill" and after.cursor is None


def csv_of(ids: range) -> str:
    return "id,v\n" + "".join(f'{n},"{n},\n"\n' if n % 3 else "no row\n" for n in ids)


def json_of(ids: range) -> str:
    return "".join(f'{{"id": {n}}}\n' if n % 3 else "no row\n" for n in ids)


def parquet_of(ids: range) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": [str(n) for n in ids]}), sink, row_group_size=4)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.contract("resume")
@pytest.mark.parametrize(("ending", "write"), [("csv", csv_of), ("jsonl", json_of), ("parquet", parquet_of)])
def test_reading_goes_on_behind_any_row(
    system: FilesSystem, ending: str, write: Callable[[range], str | bytes]
) -> None:
    for number in range(3):
        system.put(f"{number}.{ending}", write(range(10 * number, 10 * number + 10)), second=number)
    source = system.source()
    with closing(source.read(Window(), None)) as batches:
        filled = [batch for batch in batches if batch.num_rows]
    whole = [row["id"] for batch in filled for row in batch.to_pylist()]
    assert len(whole) == 30
    given = 0
    for batch in filled:
        for size in range(1, batch.num_rows + 1):
            position = source.position(batch.slice(0, size))
            assert values(system.source(), Window(), after=position) == whole[given + size :]
            assert source.position(batch.slice(0, size).slice(size - 1)) == position
        given += batch.num_rows


@pytest.mark.contract("resume")
def test_a_retry_goes_on_after_the_last_complete_chunk(
    system: FilesSystem, warehouse_db: str, warehouse: psycopg.Connection
) -> None:
    for number in range(3):
        system.put(f"{number}.csv", f"id,v\n{2 * number},a\n{2 * number + 1},a\n", second=number)
    stream = system.stream()
    broken: Any = Broken(system.source(), 4)
    broken.reopen = system.source().reopen
    with pytest.raises(SourceError):
        run(broken, warehouse_db, stream, run_id="retried")
    report = run(system.source(), warehouse_db, stream, run_id="retried")
    assert report.counts == Counts(inserted=6)
    assert run(system.source(), warehouse_db, stream).counts == Counts()


@pytest.mark.contract("types exact")
def test_every_value_arrives_exactly(system: FilesSystem, warehouse_db: str, warehouse: psycopg.Connection) -> None:
    texts = {
        "bigint": "-9223372036854775808",
        "numeric": "12345678901234567890.0123456789",
        "text": "höl 😀 ",
        "timestamp with time zone": "2026-01-02 01:04:05.123456+00",
        "timestamp without time zone": "2026-01-02 03:04:05.123456",
        "date": "1000-01-01",
        "boolean": "true",
    }
    names = {f"v{number}": type_ for number, type_ in enumerate(texts)}
    system.put("a.csv", f"id,{','.join(names)}\n1,{','.join(texts.values())}\n2{',' * len(names)}\n")
    assert run(system.source(), warehouse_db, system.stream()).counts == Counts(inserted=2)
    warehouse.execute("SET TimeZone = 'UTC'")
    for name, type_ in names.items():
        found = warehouse.execute(f"SELECT {name}::text, pg_typeof({name})::text FROM t ORDER BY id").fetchall()
        assert found == [(texts[type_], type_), (None, type_)]
    sink = pa.BufferOutputStream()
    wide = pa.table({"id": [1], "v1": pa.array([Decimal("12345678901234567890.0123456789")], pa.decimal128(38, 10))})
    pq.write_table(wide, sink)
    system.put("b.parquet", sink.getvalue().to_pybytes())
    assert run(system.source(), warehouse_db, system.stream()).counts == Counts(skipped=1)


@pytest.mark.contract("schema contracts")
@pytest.mark.parametrize("contract", ["evolve", "freeze", "discard_column"])
def test_a_new_column_goes_by_the_contract(
    system: FilesSystem, warehouse_db: str, warehouse: psycopg.Connection, contract: SchemaContract
) -> None:
    system.put("a.csv", "id,v\n1,a\n")
    rules = LoadRules(schema_contract=contract)
    run(system.source(), warehouse_db, system.stream(), rules=rules)
    system.put("b.csv", "id,v,w\n2,b,7\n", second=1)
    if contract == "freeze":
        with pytest.raises(SchemaError, match="has no column w, and schema_contract is 'freeze'"):
            run(system.source(), warehouse_db, system.stream(), rules=rules)
        return
    assert run(system.source(), warehouse_db, system.stream(), rules=rules).counts.inserted == 1
    columns = [each.name for each in warehouse.execute("SELECT * FROM t").description or []]
    assert columns == (["id", "v", "w"] if contract == "evolve" else ["id", "v"])
    noted = 'SELECT "column" FROM etl_sync.schema_change WHERE change = $$appeared$$'
    assert warehouse.execute(noted).fetchall() == [("w",)]


@pytest.mark.contract("schema contracts")
def test_a_file_without_rows_tells_its_columns(system: FilesSystem) -> None:
    system.put("a.csv", "id,v\n")
    source = system.source()
    shape = source.describe()
    assert shape.columns == (("id", "text"), ("v", "text")) and not shape.is_key_unique
    with closing(source.read(open_window(source)[0], None)) as batches:
        first = next(batches)
    assert first.num_rows == 0 and first.schema.names[:2] == ["id", "v"]


def look(system: FilesSystem, **changes: Any) -> None:
    source = system.source(system.stream(**changes))
    source.describe()
    open_window(source)


@pytest.mark.contract("wrong names")
@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"cursor_field": "nope"}, ConfigurationError, "is file_modified or file_name, not 'nope'"),
        ({"primary_key": ("nope",)}, SchemaError, "'s' has no column 'nope' to use as cursor or key; it has id."),
        ({"primary_key": ()}, ConfigurationError, "set primary_key to columns that do"),
        ({"columns": ("nope",)}, SchemaError, "The file 'a.csv' has no column 'nope'; it has id."),
        ({"pattern": "*.txt"}, ConfigurationError, "No file matches the uri of this stream"),
    ],
)
def test_a_wrong_name_is_refused_in_one_sentence(
    system: FilesSystem, changes: dict[str, Any], kind: type[Exception], said: str
) -> None:
    system.put("a.csv", "id\n1\n")
    with pytest.raises(kind) as refused:
        look(system, **changes)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.contract("wrong names")
@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"initial_value": "yesterday"}, "initial_value is not a value of the cursor's type"),
        ({"lag": 5}, "lag of a stream of files must be a duration"),
    ],
)
def test_a_wrong_bound_is_refused(system: FilesSystem, rules: dict[str, Any], said: str) -> None:
    system.put("a.csv", "id\n1\n")
    with pytest.raises(ConfigurationError, match=said):
        open_window(system.source(), **rules)


@pytest.mark.contract("dry run")
def test_a_plan_shows_what_would_be_read(system: FilesSystem) -> None:
    for number in range(22):
        system.put(f"{number:02}.csv", "id\n1\n2\n", second=number)
    source = system.source()
    window, _ = open_window(source, Watermark(cursor=CursorValue("timestamptz", "2026-01-01 00:00:01+00")))
    plans = source.plan(window)
    assert [plan.statement for plan in plans[::20]] == ["01.csv, 7 bytes", "1 more files, 7 bytes"]
    assert all(plan.rows == 2 for plan in plans) and len(plans) == 21

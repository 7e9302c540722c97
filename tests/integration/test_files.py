"""Files into PostgreSQL: each version once, late ones too, resumed, and lines that hold no row set aside."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from airflow_etl_sync.core.chunking import cut
from airflow_etl_sync.core.files import FileSet
from airflow_etl_sync.core.model import (
    Counts,
    Extraction,
    LoadRules,
    RunIdentity,
    Stream,
    TableName,
    Window,
    WindowRules,
)
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.core.transform import Transform
from airflow_etl_sync.core.watermark_change import ChangeRequest, Signature
from airflow_etl_sync.errors import ConfigurationError, DataError, SchemaError, SourceError
from airflow_etl_sync.journey import failed_records, watermark
from airflow_etl_sync.journey.advance import advance
from airflow_etl_sync.journey.extract import extract
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import Destination, Position
from airflow_etl_sync.systems.files import memory, place
from airflow_etl_sync.systems.files.place import FilePlace, FoundFile
from airflow_etl_sync.systems.files.source import FileSource
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from tests.contract.systems import SqliteSystem
from tests.object_storage import Bucket, ObjectStorage

LONG_AGO = 1_700_000_000
_runs = count()


@dataclass
class Folder:
    """Files of this machine, and a sync that reads them."""

    path: Path
    warehouse_db: str
    pattern: str = "*"
    stream: Stream = field(default_factory=lambda: Stream(sync_key="f", cursor_field="file_modified", sql="x"))

    def put(self, name: str, content: bytes | str, at: int = 0) -> Path:
        """Write a file as it would have been written so many seconds after a time long ago."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (LONG_AGO + at, LONG_AGO + at))
        return path

    def source(self, kind: type[FileSource] = FileSource, **changes: Any) -> FileSource:
        options = changes.pop("options", {})
        files = FileSet.parse(f"{self.path}/{self.pattern}", options)
        stream = replace(self.stream, sql=None, files=files, **{"primary_key": ("id",)} | changes)
        return kind(FilePlace(fsspec.filesystem("file"), files.uri, files.uri), stream)

    @property
    def destination(self) -> PostgresDestination:
        return PostgresDestination(PostgresAccess(self.warehouse_db), TableName("t"))

    def sync(
        self,
        source: FileSource | None = None,
        run: str = "",
        rules: WindowRules | None = None,
        chunk_rows: int = 1_000,
        transform: Transform | None = None,
        destination: Destination | None = None,
        **load_rules: Any,
    ) -> Counts:
        source = source or self.source()
        return sync(
            source, destination or self.destination, stream=source._stream, window_rules=rules or WindowRules(),
            load_rules=LoadRules(**load_rules), identity=RunIdentity("dag", "task", run or f"run-{next(_runs)}"),
            chunk_rows=chunk_rows, transform=transform,
        ).counts  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, warehouse_db: str) -> Folder:
    (tmp_path / "in").mkdir()
    return Folder(tmp_path / "in", warehouse_db)


def rows(warehouse: psycopg.Connection, columns: str = "*") -> list[tuple[Any, ...]]:
    return warehouse.execute(f"SELECT {columns} FROM t ORDER BY id").fetchall()


def test_each_file_is_loaded_once_and_a_changed_one_again(folder: Folder, warehouse: psycopg.Connection) -> None:
    folder.put("1.csv", "id,v\n1,a\n2,a\n")
    folder.put("2.csv", "id,v\n2,b\n3,b\n", at=1)
    assert folder.sync() == Counts(inserted=3, skipped=1)
    assert rows(warehouse) == [(1, "a"), (2, "b"), (3, "b")], "of two rows of one key the later file's stays"
    assert folder.sync() == Counts()
    folder.put("1.csv", "id,v\n1,c\n2,c\n", at=2)
    assert folder.sync() == Counts(updated=2)
    folder.put("2.csv", "id,v\n2,d\n3,b\n", at=1)  # its size and time are what they were
    folder.put("new", "id,v\n2,d\n3,b\n", at=1).replace(folder.path / "2.csv")
    assert folder.sync() == Counts(updated=1, skipped=1)
    assert folder.sync() == Counts()


def test_files_that_show_up_late_are_not_passed_over(folder: Folder, warehouse: psycopg.Connection) -> None:
    folder.put("b.csv", "id\n1\n", at=10)
    assert folder.sync() == Counts(inserted=1)
    folder.put("a.csv", "id\n2\n", at=10)
    folder.put("c.csv", "id\n3\n", at=10)
    folder.put("old.csv", "id\n4\n", at=-100_000)
    assert folder.sync() == Counts(inserted=3)
    (folder.path / "c.csv").unlink()
    assert folder.sync() == Counts()
    folder.put("c.csv", "id\n3\n", at=10)
    assert folder.sync().inserted == 0


def test_by_name_a_file_is_loaded_once_whatever_becomes_of_it(folder: Folder, warehouse: psycopg.Connection) -> None:
    folder.stream = replace(folder.stream, cursor_field="file_name")
    folder.put("2026-01-02.csv", "id,v\n1,b\n", at=1)
    folder.put("2026-01-01.csv", "id,v\n1,a\n2,a\n", at=2)
    assert folder.sync() == Counts(inserted=2, skipped=1)
    assert rows(warehouse) == [(1, "b"), (2, "a")], "in the order of names"
    folder.put("2026-01-02.csv", "id,v\n1,c\n", at=3)
    folder.put("2025-12-31.csv", "id,v\n3,late\n", at=3)
    assert folder.sync() == Counts(inserted=1)
    assert warehouse.execute("SELECT cursor_type, cursor_value FROM etl_sync.watermark").fetchall() == [
        ("text", "2026-01-02.csv")
    ]


def test_a_file_that_may_be_written_once_more_in_the_same_moment_is_read_again(folder: Folder) -> None:
    path = folder.put("a.csv", "id,v\n1,a\n")
    now = datetime.now(timezone.utc).timestamp()
    os.utime(path, (now, now))
    assert folder.sync() == Counts(inserted=1)
    inode = path.stat().st_ino
    path.write_text("id,v\n1,b\n")
    os.utime(path, (now, now))
    assert path.stat().st_ino == inode
    assert folder.sync() == Counts(updated=1), "nothing tells the two versions apart but what they hold"


def test_files_younger_than_the_lag_wait(folder: Folder) -> None:
    folder.put("old.csv", "id\n1\n")
    young = folder.put("young.csv", "id\n2\n")
    far = folder.put("2099.csv", "id\n3\n")
    clock = datetime.now(timezone.utc).timestamp()
    os.utime(young, (clock - 100, clock - 100))
    os.utime(far, (clock + 1e9, clock + 1e9))
    rules = WindowRules(lag=timedelta(hours=1))
    assert folder.sync(rules=rules) == Counts(inserted=2), "a time that lies far ahead is none that a writer gave"
    assert folder.sync(rules=WindowRules(lag=timedelta(seconds=50))) == Counts(inserted=1)
    assert folder.sync(rules=rules) == Counts(), "what is loaded stays so with a longer lag"
    half = folder.put("half.csv.gz", gzip.compress(b"id\n5\n")[:-9])
    os.utime(half, (clock, clock))
    waiting = FileSource(folder.source().access, folder.source()._stream, timedelta(hours=1))
    assert folder.sync(waiting, rules=rules) == Counts(), "one that is being written is not looked at"
    with pytest.raises(ConfigurationError, match="lag of a stream of files must be a duration"):
        folder.sync(rules=WindowRules(lag=5))


def test_the_memory_is_bounded_and_passes_over_what_comes_before_it(
    folder: Folder, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MOST", 3)
    for number in range(6):
        folder.put(f"{number}.csv", f"id\n{number}\n", at=number)
    assert folder.sync() == Counts(inserted=6)
    assert folder.sync() == Counts()
    folder.put("3b.csv", "id\n7\n", at=3)
    folder.put("0b.csv", "id\n8\n", at=0)
    assert folder.sync() == Counts(inserted=1), "the one is behind the floor, the other before it"
    [(kept,)] = warehouse.execute("SELECT metadata FROM etl_sync.watermark").fetchall()
    assert len(kept["fences"][0]["files"]) == 3 * 8


def test_a_full_refresh_and_a_backfill(folder: Folder, warehouse: psycopg.Connection) -> None:
    for number in range(4):
        folder.put(f"{number}.csv", f"id\n{number}\n", at=number)
    folder.sync()
    before = warehouse.execute("SELECT watermark::text FROM etl_sync.watermark").fetchall()
    start, end = (datetime.fromtimestamp(LONG_AGO + at, timezone.utc).isoformat() for at in (1, 3))
    assert folder.sync(rules=WindowRules(range_start=start, range_end=end)) == Counts(skipped=2)
    assert warehouse.execute("SELECT watermark::text FROM etl_sync.watermark").fetchall() == before
    assert folder.sync(rules=WindowRules(full_refresh=True)) == Counts(skipped=4)
    assert folder.sync() == Counts()


def test_a_person_moves_the_watermark(folder: Folder) -> None:
    for number in range(4):
        folder.put(f"{number}.csv", f"id\n{number}\n", at=number)
    first = datetime.fromtimestamp(LONG_AGO + 1, timezone.utc).isoformat()
    assert folder.sync(rules=WindowRules(initial_value=first)) == Counts(inserted=3)
    assert folder.sync() == Counts(), "what lies before the initial value is passed over for good"
    state, by = folder.destination.engine, Signature(by="me", reason="try", request="")
    watermark.change(
        state, ChangeRequest(sync_key="f", action="rewind", back=timedelta(seconds=1)), replace(by, request="1")
    )
    assert folder.sync() == Counts(skipped=2)
    watermark.change(state, ChangeRequest(sync_key="f", action="reset"), replace(by, request="2"))
    assert folder.sync() == Counts(inserted=1, skipped=3)


def test_where_there_is_no_file_and_never_was_the_run_fails(folder: Folder, warehouse: psycopg.Connection) -> None:
    with pytest.raises(ConfigurationError, match="No file matches the uri of this stream"):
        folder.sync()
    path = folder.put("a.csv", "id\n1\n")
    folder.sync()
    path.unlink()
    assert folder.sync() == Counts(), "those that are loaded may be taken away"
    assert warehouse.execute("SELECT count(*) FROM etl_sync.schema_change WHERE place = 'source'").fetchone() == (0,)
    folder.put("b.csv", "id\n2\n")
    assert folder.sync() == Counts(inserted=1)


def test_unfinished_files_and_folders_are_left_alone(folder: Folder) -> None:
    folder.pattern = "**/*.csv"
    for name in ("a.csv", "x/b.csv", "x/.c.csv", "_temporary/0/d.csv", ".tmp/e.csv", "x/f.csv.tmp"):
        folder.put(name, f"id\n{ord(name[-5])}\n")
    (folder.path / "g.csv").mkdir()
    (folder.path / "h.csv").symlink_to(folder.put("elsewhere/h.txt", "id\n5\n"))
    assert sorted(file.name for file in folder.source().access.list()) == ["a.csv", "h.csv", "x/b.csv"]
    assert folder.sync() == Counts(inserted=3)


class Stopping(FileSource):
    """A source that breaks off after some rows."""

    rows = 0

    def read(self, window: Window, after: Position | None) -> Generator[pa.RecordBatch]:
        left = self.rows
        for batch in super().read(window, after):
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                raise SourceError("broken off")


@pytest.mark.parametrize("form", ["csv", "csv.gz", "jsonl", "parquet"])
@pytest.mark.parametrize("stop", [5, 30])
def test_a_retry_goes_on_behind_the_last_chunk(
    folder: Folder, warehouse: psycopg.Connection, form: str, stop: int
) -> None:
    """Three files of 16 rows, of which one is changed and one comes up between the two tries."""
    for number in range(3):
        folder.put(f"{number}.{form}", content(form, range(16 * number, 16 * number + 16)), at=number)
    broken = folder.source(type("Stopped", (Stopping,), {"rows": stop}))
    with pytest.raises(SourceError):
        folder.sync(broken, "retried", chunk_rows=4)
    folder.put(f"1b.{form}", content(form, range(100, 102)), at=1)
    first = folder.sync(run="retried", chunk_rows=4)
    assert first == Counts(inserted=48)
    [(high, resumed)] = warehouse.execute("SELECT high, is_resumed FROM etl_sync.sync_run").fetchall()
    assert resumed and high.startswith("2023-11-14 22:13:22")
    assert folder.sync() == Counts(inserted=2), "what came up meanwhile is the next run's"
    assert rows(warehouse, "id") == [(n,) for n in (*range(48), 100, 101)]


def content(form: str, ids: range) -> bytes:
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"id": pa.array(ids, pa.int64()), "v": [str(n) for n in ids]}), sink, row_group_size=5)
        return bytes(sink.getvalue().to_pybytes())
    lines = [json.dumps({"id": n, "v": str(n)}) if form == "jsonl" else f"{n},x{n}" for n in ids]
    text = "\n".join(lines if form == "jsonl" else ["id,v", *lines]).encode()
    return gzip.compress(text) if form == "csv.gz" else text


def test_what_changed_between_two_tries_is_left_to_the_next_run(folder: Folder, warehouse: psycopg.Connection) -> None:
    for number in range(3):
        folder.put(f"{number}.csv", content("csv", range(16 * number, 16 * number + 16)), at=number)
    with pytest.raises(SourceError):
        folder.sync(folder.source(type("Stopped", (Stopping,), {"rows": 10})), "retried", chunk_rows=4)
    folder.put("1.csv", "id,v\n16,other\n", at=50)
    assert folder.sync(run="retried", chunk_rows=4) == Counts(inserted=32)
    assert folder.sync() == Counts(inserted=1)
    assert rows(warehouse, "id, v")[16] == (16, "other")


@pytest.mark.parametrize("how", ["in place", "replaced", "gone"])
def test_a_file_that_is_changed_while_it_is_read_fails_the_try(
    folder: Folder, warehouse: psycopg.Connection, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder.put("a.csv", b"id,v\n" + b"".join(b"%d,%s\n" % (n, b"x" * 100) for n in range(30_000)))
    happened: list[str] = []

    class Beside(FilePlace):
        def refuse_changed(self, file: FoundFile) -> None:
            if not happened:
                happened.append(how)
                if how == "in place":
                    with path.open("r+b") as writer:
                        writer.seek(200_000)
                        writer.write(b"\n7,torn\n")
                elif how == "replaced":
                    folder.put("b.csv.new", "id,v\n1,new\n").replace(path)
                else:
                    path.unlink()
            super().refuse_changed(file)

    source = folder.source()
    beside = Beside(fsspec.filesystem("file"), source.access.uri, source.access.uri)
    monkeypatch.setattr(source._reader, "_place", beside)
    with pytest.raises(SourceError, match=r"was changed while it was read|it is not there, or not any more") as told:
        folder.sync(source)
    assert told.value.is_retryable
    exists = warehouse.execute("SELECT to_regclass('t')").fetchone()
    assert exists == (None,) or rows(warehouse, "count(*) AS id") == [(0,)], "nothing of it is loaded"


def test_lines_that_hold_no_row_are_failed_records(folder: Folder, warehouse: psycopg.Connection) -> None:
    folder.put("a.csv", 'id,n,at\n1,10,2026-01-01T10:00Z\n2\n3,x,2026-01-01T10:00Z\n4,40,2026-01-01T10:00\n5,50,\n"6\n')

    def read() -> FileSource:
        return folder.source(options={"column_types": {"at": "timestamptz", "n": "bigint"}})

    with pytest.raises(DataError) as told:
        folder.sync(read())
    assert str(told.value).startswith("a.csv, line 3: it has 1 fields, and the file 3 columns, and 2 more records")
    assert warehouse.execute("SELECT to_regclass('t')").fetchone() == (None,)
    with pytest.raises(DataError, match="allow more failed records"):
        folder.sync(read(), max_errors=3)
    counts = folder.sync(read(), max_errors=4)
    assert counts == Counts(inserted=2, errors=4) and counts.processed == 6
    assert rows(warehouse, "id, n") == [(1, 10), (5, 50)]
    found = {each.record.error: each for each in failed_records.find(folder.destination.engine, "f")}
    assert sorted(found)[:3] == [
        "a.csv, line 3: it has 1 fields, and the file 3 columns",
        "a.csv, line 5: at is a time without a zone",
        "a.csv, line 7: its quotes do not match",
    ]
    [wrong_type] = [each for each in found.values() if each.record.sqlstate]
    assert wrong_type.record.key == ("3",) and wrong_type.record.payload["n"] == "x"
    unread = found["a.csv, line 3: it has 1 fields, and the file 3 columns"].record
    assert unread.payload["id"] is None and json.loads(unread.payload["_sync_unread"] or "")["text"] == "2"


def test_a_failed_line_is_mended_and_replayed(folder: Folder, warehouse: psycopg.Connection) -> None:
    folder.put("a.jsonl", '{"id": 1, "v": "a"}\n{"id": 2, "v": "b"\n')
    assert folder.sync(max_errors=1) == Counts(inserted=1, errors=1)
    assert folder.sync(rules=WindowRules(full_refresh=True), max_errors=1) == Counts(skipped=1, errors=1)
    state, asked = folder.destination.engine, RunIdentity("dag", "replay", "1")

    def replay() -> Counts:
        return failed_records.replay_all(lambda _: folder.destination, state, "f", asked)

    [record] = failed_records.find(state, "f")
    assert record.failures == 2
    assert replay() == Counts(errors=1), "as long as it holds no row it stays"
    warehouse.execute("UPDATE etl_sync.failed_record SET payload = json_build_object('id', '2', 'v', 'b')")
    assert replay() == Counts(inserted=1)
    assert rows(warehouse) == [(1, "a"), (2, "b")] and failed_records.find(state, "f") == []


def test_a_share_of_errors_counts_lines_that_hold_no_row(folder: Folder) -> None:
    folder.put("a.csv", "id,v\n" + "".join(f"{n},v\n" for n in range(8)) + "8\n9\n")
    with pytest.raises(DataError, match=r"a.csv, line 10: .*now 1 more may be set aside"):
        folder.sync(max_error_percent=19)
    assert folder.sync(max_error_percent=20) == Counts(inserted=8, errors=2)


def test_lines_that_hold_no_row_pass_by_a_transform(folder: Folder, warehouse: psycopg.Connection) -> None:
    folder.put("a.csv", "id,v\n1,a\n2\n")

    def shout(table: pa.Table) -> pa.Table:
        assert table.column_names == ["id", "v"]
        return table.set_column(1, "v", pc.utf8_upper(table.column("v")))

    with pytest.raises(DataError, match=r"a.csv, line 3: it has 1 fields"):
        folder.sync(transform=shout)
    assert folder.sync(transform=shout, max_errors=1) == Counts(inserted=1, errors=1)
    assert rows(warehouse) == [(1, "A")]
    [record] = failed_records.find(folder.destination.engine, "f")
    assert record.record.is_untransformed, "a replay would pass the transform by"


def test_files_into_another_database(folder: Folder, tmp_path: Path, warehouse_db: str) -> None:
    folder.put("a.csv", "id,n,at\n1,1.10,2026-01-01T10:00:00Z\n2\n3,2.5,\n")
    other = SqliteSystem(tmp_path / "other.db", warehouse_db)
    assert folder.sync(destination=other.destination("t"), max_errors=1) == Counts(inserted=2, errors=1)
    assert other.rows("t") == [(1, "1.10", "2026-01-01 10:00:00+00:00"), (3, "2.5", None)]


def test_the_chain_carries_lines_that_hold_no_row(
    folder: Folder, tmp_path: Path, warehouse: psycopg.Connection
) -> None:
    folder.put("a.csv", "id,v\n1\n")
    folder.put("b.csv", "id,v\n1,a\n2,b\n", at=1)
    source, staging, state = folder.source(), Staging(tmp_path / "staging"), folder.destination.engine
    extraction = extract(
        source, state, staging, stream=source._stream, rules=WindowRules(), identity=RunIdentity("dag", "x", "1"),
        chunk_rows=1,
    )  # fmt: skip
    extraction = Extraction.from_xcom([part.to_json() for part in extraction.parts(4)])
    assert len(extraction.chunks) == 3 and extraction.ordered
    assert load(folder.destination, staging, extraction, LoadRules(max_errors=1)) == Counts(inserted=2, errors=1)
    advance(state, staging, extraction)
    assert rows(warehouse) == [(1, "a"), (2, "b")]
    assert folder.sync() == Counts()


def test_small_files_share_a_chunk(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "in", "")
    for number in range(5):
        folder.put(f"{number}.csv", f"id,v\n{number},a\n", at=number)
    folder.put("other.csv", "id,w\n9,a\n", at=9)
    chunks = cut(folder.source().read(Window(), None), 100)
    sizes = [sum(batch.num_rows for batch in chunk) for chunk in chunks]
    assert sizes == [5, 1], "one that has other columns begins a new one"


def test_columns_and_types(folder: Folder, warehouse: psycopg.Connection) -> None:
    folder.put("1.csv", "id,code,day,at,total,flag\n1,007,2026-01-31,2026-01-31T10:00:00.5+02:00,1.10,true\n")
    options = {"file_columns": ["file_name", "file_row", "file_modified"], "column_types": {"total": "numeric(12,2)"}}
    assert folder.sync(folder.source(options=options)) == Counts(inserted=1)
    moment = datetime(2026, 1, 31, 8, 0, 0, 500_000, timezone.utc)
    then = datetime.fromtimestamp(LONG_AGO, timezone.utc)
    assert rows(warehouse) == [(1, "007", date(2026, 1, 31), moment, Decimal("1.10"), True, then, "1.csv", 2)]
    types = warehouse.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"
    ).fetchall()
    assert [type_ for (type_,) in types] == [
        "bigint", "text", "date", "timestamp with time zone", "numeric(12,2)", "boolean", "timestamp with time zone",
        "text", "bigint",
    ]  # fmt: skip
    folder.put("2.csv", "id,total,extra\n2,1e3,x\n3,2.5,y\n", at=1)
    assert folder.sync(folder.source(options=options)) == Counts(inserted=2)
    assert rows(warehouse, "id, total, extra, file_row")[1:] == [(2, 1000, "x", 2), (3, Decimal("2.50"), "y", 3)]
    folder.put("3.csv", "id,code\n4,12345678901234567890\n", at=2)
    assert folder.sync(folder.source(options=options)) == Counts(inserted=1)


def test_a_key_of_file_and_line(folder: Folder, warehouse: psycopg.Connection) -> None:
    folder.put("a.csv", "v\nx\nx\n")
    folder.put("b.csv", "v\nx\n")
    assert folder.sync(folder.source(primary_key=("file_name", "file_row"))) == Counts(inserted=3)
    found = warehouse.execute("SELECT * FROM t ORDER BY 2, 3").fetchall()
    assert found == [("x", "a.csv", 2), ("x", "a.csv", 3), ("x", "b.csv", 2)]


def test_fields_of_json_that_come_and_go(folder: Folder, warehouse: psycopg.Connection) -> None:
    folder.put("a.jsonl", '{"id": 1, "v": {"x": 1.10}}\n{"id": 2, "w": "é"}\n{"id": 3, "v": "text"}\n')
    assert folder.sync() == Counts(inserted=3)
    assert rows(warehouse, "id, v::text, w") == [(1, '{"x": 1.10}', None), (2, None, "é"), (3, '"text"', None)]
    folder.put("b.jsonl", '{"id": 1}\n{"id": 4, "w": 5}\n', at=1)
    assert folder.sync() == Counts(inserted=1, updated=1)
    assert rows(warehouse, "id, v::text, w")[0::3] == [(1, None, None), (4, None, "5")]


def test_parquet_keeps_its_types(folder: Folder, warehouse: psycopg.Connection) -> None:
    values: dict[str, pa.Array] = {
        "id": pa.array([1, 2], pa.int32()),
        "price": pa.array([Decimal("1.10"), None], pa.decimal128(20, 4)),
        "tags": pa.array([["a", "b"], None]),
        "big": pa.array([2**64 - 1, None], pa.uint64()),
        "at": pa.array([datetime(2026, 1, 1, tzinfo=timezone.utc), None], pa.timestamp("ns", "UTC")),
        "word": pa.array(["x", None]).dictionary_encode(),
        "raw": pa.array([b"\0", None]),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(values), sink)
    folder.put("a.parquet", sink.getvalue().to_pybytes())
    assert folder.sync() == Counts(inserted=2)
    expected = (1, Decimal("1.1000"), ["a", "b"], 2**64 - 1, datetime(2026, 1, 1, tzinfo=timezone.utc), "x", b"\0")
    assert rows(warehouse) == [expected, (2, *[None] * 6)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array(["a", "b\0"]), "column 'v' holds the character NUL"),
        (pa.array([1, 2], pa.timestamp("ns")), "such as times finer than a microsecond"),
    ],
)
def test_parquet_with_values_that_no_table_holds_is_refused(tmp_path: Path, values: pa.Array, said: str) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": [1, 2], "v": values}), sink)
    folder = Folder(tmp_path / "in", "")
    folder.put("a.parquet", sink.getvalue().to_pybytes())
    with pytest.raises(DataError, match=f"The file 'a.parquet' cannot be read: .*{said}"):
        list(folder.source().read(Window(), None))


@pytest.mark.parametrize(
    ("name", "text", "changes", "kind", "said"),
    [
        ("a.csv", "id,id\n", {}, SchemaError, "The file 'a.csv' has the column 'id' twice."),
        ("a.csv", "id,\n", {}, SchemaError, "it is empty, or longer than 63 bytes"),
        ("a.csv", "v\n1\n", {}, SchemaError, "'f' has no column 'id' to use as cursor or key; it has v."),
        ("a.csv", "id\n1\n", {"columns": ("id", "w")}, SchemaError, "The file 'a.csv' has no column 'w'; it has id."),
        ("a.csv", "id,file_modified\n", {}, SchemaError, "has a column 'file_modified', which is the name of"),
        ("a.csv", "id,_sync_unread\n", {}, SchemaError, "has a column '_sync_unread', which is the name of"),
        ("a.csv.gz", "id\n", {}, DataError, "The file 'a.csv.gz' cannot be read: it is cut short, or not packed by"),
        ("a.parquet", "id\n", {}, DataError, "The file 'a.parquet' cannot be read: it is no Parquet, or damaged."),
        ("a.txt", "id\n", {}, ConfigurationError, "The file 'a.txt' has an ending that tells no format"),
        ("a.csv", "id\n1\n", {"primary_key": ()}, ConfigurationError, "set primary_key to columns that do"),
        ("a.csv", "id\n1\n", {"cursor_field": "id"}, ConfigurationError, "is file_modified or file_name, not 'id'"),
        ("a.csv", "id\n1\n", {"where": "id > 1"}, ConfigurationError, "where is SQL, which files do not speak"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(
    tmp_path: Path, name: str, text: str, changes: dict[str, Any], kind: type[Exception], said: str
) -> None:
    folder = Folder(tmp_path / "in", "")
    folder.put(name, text)
    with pytest.raises(kind) as told:
        folder.source(**changes).describe()
    assert said in str(told.value) and "\n" not in str(told.value)


# -- on object storage ------------------------------------------------------------------------------------


@pytest.fixture
def bucket(bucket: Bucket, object_storage: ObjectStorage) -> Bucket:
    """A bucket that the sync may read, and not write to."""
    return replace(bucket, key=object_storage.reader.key, secret=object_storage.reader.secret)


def s3_source(bucket: Bucket, pattern: str = "in/*.csv") -> FileSource:
    path = bucket.path("in")
    stream = Stream(
        sync_key="f", cursor_field="file_modified", primary_key=("id",),
        files=FileSet.parse(f"s3://lake@{bucket.name}/{pattern}", {}),
    )  # fmt: skip
    assert stream.files
    return FileSource(FilePlace(path.fs, f"{bucket.name}/{pattern}", stream.files.uri), stream)


def test_objects_are_loaded_once_by_their_etag(folder: Folder, bucket: Bucket, warehouse: psycopg.Connection) -> None:
    source = s3_source(bucket)
    bucket.put("in/a.csv", b"id,v\n1,a\n")
    bucket.put("in/sub/b.csv", b"id,v\n9,no\n")
    assert folder.sync(source) == Counts(inserted=1)
    bucket.put("in/a.csv", b"id,v\n1,a\n")
    assert folder.sync(s3_source(bucket)) == Counts(), "the same content again"
    bucket.put("in/a.csv", b"id,v\n1,b\n")
    bucket.put("in/c.csv", b"id,v\n2,c\n")
    assert folder.sync(source) == Counts(inserted=1, updated=1), "a source that has listed before lists again"
    assert rows(warehouse) == [(1, "b"), (2, "c")]


@pytest.mark.parametrize("form", ["csv.gz", "jsonl", "parquet"])
def test_objects_of_every_form_are_read(bucket: Bucket, form: str) -> None:
    bucket.put(f"in/a.{form}", content(form, range(100)))
    batches = s3_source(bucket, "in/**/a.*").read(Window(), None)
    assert [int(value) for batch in batches for value in batch.column("id").to_pylist()] == list(range(100))


def test_what_another_machine_has_written_meanwhile_is_listed(bucket: Bucket) -> None:
    place_ = s3_source(bucket).access
    bucket.put("in/a.csv", b"id\n1\n")
    assert [file.name for file in place_.list()] == ["a.csv"]
    bucket.put("in/b.csv", b"id\n2\n")
    assert sorted(file.name for file in place_.list()) == ["a.csv", "b.csv"]


def test_an_object_that_is_replaced_while_it_is_read_fails_the_try(
    folder: Folder, bucket: Bucket, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "BLOCK_BYTES", 64 * 1024)
    old = b"id,v\n" + b"".join(b"%d,%s\n" % (n, b"x" * 100) for n in range(60_000))
    bucket.put("in/a.csv", old)
    source = s3_source(bucket)
    source.open_window(Watermark(), WindowRules())
    batches = source.read(Window(), None)
    assert next(batches).num_rows > 1_000
    bucket.put("in/a.csv", old.replace(b"x", b"y"))
    with pytest.raises(SourceError) as told:
        list(batches)
    assert told.value.is_retryable and bucket.secret not in str(told.value)
    assert folder.sync(s3_source(bucket), chunk_rows=100_000) == Counts(inserted=60_000)


def test_a_bucket_that_is_not_there_is_told(bucket: Bucket, folder: Folder) -> None:
    bucket.name = "no-such-bucket-here"
    with pytest.raises((SourceError, ConfigurationError)) as told:
        folder.sync(s3_source(bucket))
    assert "s3://lake@no-such-bucket-here/in/*.csv" in str(told.value) or "No file matches" in str(told.value)

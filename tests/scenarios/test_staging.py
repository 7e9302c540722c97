"""S27: staging that is full, gone or damaged stops the sync, says why, and the rerun heals it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, Extraction, Stream, TableName
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.errors import DataError, EtlSyncError, SourceError, StateError
from tests.carrying import FORMS, Carrier, Form

pytestmark = pytest.mark.scenario("S27")

ITEMS = TableName("items", "public")
STREAM = Stream(sync_key="items", cursor_field="at", table=ITEMS)
ROWS = 10


@pytest.fixture
def carrier(source_db: str, warehouse_db: str, tmp_path: Path) -> Carrier:
    return Carrier(source_db, warehouse_db, tmp_path / "staging", chunk_rows=4)


@pytest.fixture(autouse=True)
def items(source: psycopg.Connection) -> None:
    source.execute(
        "CREATE TABLE items (id integer PRIMARY KEY, name text, at timestamptz NOT NULL DEFAULT now(),"
        " token uuid NOT NULL DEFAULT gen_random_uuid())"
    )
    source.execute("INSERT INTO items (id, name) SELECT n, repeat('x', n) FROM generate_series(1, %s) AS n", (ROWS,))


def chunks(carrier: Carrier) -> list[Path]:
    return sorted(carrier.root.rglob("*.parquet"))


def staging_tables(warehouse: psycopg.Connection) -> list[tuple[str]]:
    return warehouse.execute("SELECT relname FROM pg_class WHERE relname LIKE 'stage%'").fetchall()


def assert_not_advanced(warehouse: psycopg.Connection) -> None:
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)
    assert warehouse.execute("SELECT count(*) FROM etl_sync.sync_run WHERE status = 'done'").fetchone() == (0,)


def assert_rerun_heals(carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    """Clearing the extract begins afresh: the result is that of a clean run."""
    counts = carrier.chain(STREAM, ITEMS)
    assert (counts.processed, counts.errors, counts.updated) == (ROWS, 0, 0)
    query = "SELECT * FROM items ORDER BY id"
    assert warehouse.execute(query).fetchall() == source.execute(query).fetchall()
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (1,)


def refused(carrier: Carrier, extraction: Extraction, words: str) -> None:
    with pytest.raises(StateError, match=words):
        carrier.load(extraction, ITEMS)
    with pytest.raises(StateError, match="not loaded"):
        carrier.advance(extraction)


def test_a_missing_chunk(carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    extraction = carrier.extract(STREAM)
    chunks(carrier)[1].unlink()
    refused(carrier, extraction, "Chunk 1 of the extraction is gone from .*: clear the extract task too")
    assert_not_advanced(warehouse)
    assert_rerun_heals(carrier, source, warehouse)


@pytest.mark.parametrize("left", [0, 1, -1])
def test_a_chunk_cut_short(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, left: int
) -> None:
    extraction = carrier.extract(STREAM)
    path = chunks(carrier)[2]
    path.write_bytes(path.read_bytes()[:left])
    refused(carrier, extraction, "Chunk 2 of the extraction .* is cut short: clear the extract task too")
    assert_not_advanced(warehouse)
    assert_rerun_heals(carrier, source, warehouse)


def _inverted(content: bytes | bytearray) -> bytes:
    return bytes(byte ^ 0xFF for byte in content)


@pytest.mark.parametrize("place", ["data", "value", "footer", "all"])
def test_a_chunk_with_other_bytes(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, place: str
) -> None:
    extraction = carrier.extract(STREAM)
    path = chunks(carrier)[0]
    content = bytearray(path.read_bytes())
    row = source.execute("SELECT token FROM items WHERE id = 1").fetchone()
    assert row
    value = row[0].bytes  # stands there as it is, since nothing can compress it; statistics may repeat it
    if place == "value":
        content = content.replace(value, _inverted(value))
    else:
        spans = {"data": slice(4, 200), "footer": slice(len(content) - 300, len(content) - 8), "all": slice(None)}
        content[spans[place]] = _inverted(content[spans[place]])
    path.write_bytes(content)
    with pytest.raises(EtlSyncError, match=r"Chunk 0 of the extraction .* is damaged: clear the extract task too"):
        carrier.load(extraction, ITEMS)
    assert_not_advanced(warehouse)
    assert_rerun_heals(carrier, source, warehouse)


def test_a_chunk_of_another_chunk(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    """The same number of bytes, but not the rows that were counted."""
    extraction = carrier.extract(STREAM)
    first, _, last = chunks(carrier)
    first.write_bytes(last.read_bytes())
    changed = replace(extraction.chunks[0], bytes=first.stat().st_size)
    wrong = replace(extraction, chunks=(changed, *extraction.chunks[1:]))
    with pytest.raises(EtlSyncError):
        carrier.load(wrong, ITEMS)
    assert_not_advanced(warehouse)


def test_a_chunk_of_another_machine(
    carrier: Carrier,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "worker-7")
        there = Carrier(carrier.source_db, carrier.warehouse_db, tmp_path / "there")
        extraction = there.extract(STREAM)
    refused(carrier, extraction, "was staged on worker-7 .*: set staging_uri to object storage")
    assert_not_advanced(warehouse)
    assert_rerun_heals(carrier, source, warehouse)


def test_staging_that_cannot_be_written(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    carrier.root.write_text("a file where the directory should be")
    with pytest.raises(SourceError, match="Could not write chunk 0 below") as caught:
        carrier.extract(STREAM)
    assert caught.value.is_retryable
    assert_not_advanced(warehouse)
    carrier.root.unlink()
    assert_rerun_heals(carrier, source, warehouse)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_staging_that_is_full(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda path, mode="r": open("/dev/full", mode))  # noqa: PTH123, SIM115
        with pytest.raises(SourceError, match=r"Could not write chunk 0 below .*No space left"):
            carrier.extract(STREAM)
    assert_not_advanced(warehouse)
    assert_rerun_heals(carrier, source, warehouse)


def test_a_finished_run_leaves_nothing(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    carrier.chain(STREAM, ITEMS)
    assert list(carrier.root.iterdir()) == []
    assert staging_tables(warehouse) == []


@pytest.mark.parametrize("form", FORMS)
def test_staging_tables_of_a_failed_load_go_when_the_sync_has_finished(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, form: Form
) -> None:
    warehouse.execute("CREATE TABLE items (id integer PRIMARY KEY, name text, at timestamptz, token uuid)")
    warehouse.execute("ALTER TABLE items ADD CONSTRAINT short CHECK (length(name) <= 3)")
    with pytest.raises(DataError):
        carrier.carry(form, STREAM, ITEMS)
    warehouse.execute("ALTER TABLE items DROP CONSTRAINT short")
    assert carrier.carry(form, STREAM, ITEMS).processed == ROWS
    assert carrier.carry(form, STREAM, ITEMS).errors == 0
    warehouse.execute("UPDATE etl_sync.sync_run SET started_at = started_at - interval '8 days'")
    source.execute("UPDATE items SET at = now()")
    assert carrier.carry(form, STREAM, ITEMS).updated == ROWS
    assert staging_tables(warehouse) == []
    assert not carrier.root.exists() or list(carrier.root.iterdir()) == []


def test_chunks_stay_until_the_advance_has_succeeded(carrier: Carrier, warehouse: psycopg.Connection) -> None:
    extraction = carrier.extract(STREAM)
    assert carrier.load(extraction, ITEMS) == Counts(inserted=ROWS)
    assert len(chunks(carrier)) == 3
    carrier.advance(extraction)
    assert chunks(carrier) == []
    carrier.advance(extraction)  # a cleared advance changes nothing
    assert carrier.load(extraction, ITEMS) == Counts(inserted=ROWS)  # nor does a cleared load


def test_staged_rows_are_private(carrier: Carrier) -> None:
    carrier.extract(STREAM)
    for path in (carrier.root, *(chunk.parent for chunk in chunks(carrier))):
        assert path.stat().st_mode & 0o077 == 0, path


def test_names_of_staged_objects_tell_nothing(carrier: Carrier) -> None:
    extraction = carrier.extract(STREAM)
    names = [str(path.relative_to(carrier.root)) for path in chunks(carrier)]
    writers = {chunk.writer for chunk in extraction.chunks}
    assert names == [
        f"{extraction.extraction_id}/{number:06d}-{writer}.parquet" for number in range(3) for writer in writers
    ]


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    Staging(tmp_path / "nowhere").remove("0" * 32)

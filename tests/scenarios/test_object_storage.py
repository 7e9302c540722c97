"""S12, S27 where chunks lie on object storage, and machines share nothing else: a real S3 server on loopback."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from botocore.exceptions import ReadTimeoutError

from airflow_etl_sync.core import storage
from airflow_etl_sync.core.model import Counts, Extraction
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.core.storage import BLOCK_BYTES, ObjectStorage
from airflow_etl_sync.errors import EtlSyncError, SourceError, StateError
from tests.object_storage import Bucket, Login
from tests.scenarios.doomed import arm
from tests.scenarios.forked import fork
from tests.scenarios.world import Counted, World, rows, scalar, watermark

pytestmark = pytest.mark.scenario("S27")

ROWS = 2_500


@dataclass
class Lake(World):
    """A world whose staging is a bucket. Each step has a client of its own, as on another machine."""

    bucket: Bucket | None = None

    @property
    def staging(self) -> Staging:
        assert self.bucket is not None
        return Staging(self.bucket.path())

    def on(self, bucket: Bucket) -> Lake:
        return replace(self, bucket=bucket)


@pytest.fixture
def lake(source_db: str, warehouse_db: str, tmp_path: Path, bucket: Bucket) -> Lake:
    return Lake(source_db, warehouse_db, tmp_path / "staging", bucket=bucket)


@pytest.fixture(autouse=True)
def table(source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz NOT NULL DEFAULT now(), v text)")
    source.execute(
        "INSERT INTO t SELECT i, now() - interval '1 hour', 'v' || i FROM generate_series(1, %s) AS i", [ROWS]
    )


def extract_and_die(orders: dict[str, Any]) -> None:
    """Extract in a process that kills itself at the failpoint."""
    arm(orders["failpoint"])
    bucket = Bucket(**orders["bucket"] | {"owner": Login(**orders["bucket"]["owner"])})
    Lake(orders["source_db"], orders["warehouse_db"], Path(), chunk_rows=orders["chunk_rows"], bucket=bucket).extract(
        orders["run"]
    )


def extract_killed(lake: Lake, failpoint: str, run: str) -> None:
    assert lake.bucket is not None
    asked = {name: getattr(lake, name) for name in ("source_db", "warehouse_db", "chunk_rows")}
    asked |= {"bucket": asdict(lake.bucket), "failpoint": failpoint, "run": run}
    errors = lake.root.with_name("last-words")
    process = fork(extract_and_die, asked, errors=errors)
    process.join()
    assert process.exitcode == -9, errors.read_text() if errors.exists() else process.exitcode


def assert_arrived(lake: Lake, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    assert lake.bucket is not None
    assert rows(warehouse) == rows(source)
    assert lake.bucket.keys == []
    assert watermark(warehouse) is not None
    assert not lake.root.exists(), "nothing may be staged on the machine"


def test_the_chain_passes_through_a_bucket(
    lake: Lake, bucket: Bucket, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    extraction = lake.extract()
    assert extraction.staging_uri == f"s3://{bucket.name}/staging"
    assert bucket.keys == [
        f"staging/{extraction.extraction_id}/{chunk.number:06d}-{chunk.writer}.parquet" for chunk in extraction.chunks
    ]
    assert [len(bucket.get(key)) for key in bucket.keys] == [chunk.bytes for chunk in extraction.chunks]
    assert lake.load(extraction) == Counts(inserted=ROWS)
    assert len(bucket.keys) == 3, "a load that is cleared needs them"
    assert lake.advance(extraction).counts == Counts(inserted=ROWS)
    assert_arrived(lake, source, warehouse)
    assert lake.advance(extraction).counts == Counts(inserted=ROWS), "once more finds nothing to remove"


def test_only_the_extractions_own_chunks_are_removed(lake: Lake, bucket: Bucket) -> None:
    extraction = lake.extract()
    others = [f"staging/{extraction.extraction_id}0/000000-ab.parquet", f"{extraction.extraction_id}/x", "staging/x"]
    for key in others:
        bucket.put(key, b"somebody else's")
    lake.load(extraction)
    lake.advance(extraction)
    assert sorted(bucket.keys) == sorted(others)


def test_loads_at_once_read_from_a_bucket(
    lake: Lake, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    extraction = lake.but(chunk_rows=100).extract()
    with ThreadPoolExecutor(4) as pool:
        counts = sum(pool.map(lake.load, extraction.parts(4)), Counts())
    assert counts == Counts(inserted=ROWS)
    lake.advance(extraction)
    assert_arrived(lake, source, warehouse)


@pytest.mark.parametrize("megabytes", [1, 20], ids=["one request", "several parts"])
def test_an_object_appears_when_its_last_byte_has_arrived(bucket: Bucket, megabytes: int) -> None:
    objects = ObjectStorage(bucket.path().fs, f"{bucket.name}/staging")
    content = bytes(megabytes * 1024 * 1024)
    with objects.create("abc", "chunk") as file:
        file.write(content)
        assert bucket.unfinished_uploads == (len(content) > BLOCK_BYTES)
        assert bucket.keys == []
    assert bucket.get("staging/abc/chunk") == content


@pytest.mark.parametrize("batches", [1, 30], ids=["one request", "several parts"])
def test_a_source_that_breaks_off_leaves_no_object(bucket: Bucket, batches: int) -> None:
    schema = pa.schema([("noise", pa.binary())])

    def breaking_off() -> Any:
        noise = random_bytes(1024 * 1024)
        for _ in range(batches):
            yield pa.record_batch([pa.array([noise])], schema=schema)
        raise SourceError("the source broke off")

    staging = Staging(bucket.path())
    with pytest.raises(SourceError, match="the source broke off"):
        staging.write("abc", 0, schema, breaking_off())
    assert (bucket.keys, bucket.unfinished_uploads) == ([], 0)


def random_bytes(count: int) -> bytes:
    import random

    return random.Random(7).randbytes(count)


@pytest.mark.scenario("S12")
def test_another_machine_goes_on_after_the_last_complete_chunk(
    lake: Lake, bucket: Bucket, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    extract_killed(lake, "after state.ledger:record_extracted 2", "again")
    before = {key: bucket.get(key) for key in bucket.keys}
    assert len(before) == 2
    reader = Counted(lake)
    extraction = lake.extract("again", reader)
    assert reader.rows < ROWS
    known = {chunk.writer for chunk in extraction.chunks[:1]}
    assert {key for key in before if key.split("-")[1].removesuffix(".parquet") in known} <= set(bucket.keys)
    assert {key: bucket.get(key) for key in before} == before, "what is complete is not written again"
    assert lake.load(extraction) == Counts(inserted=ROWS)
    lake.advance(extraction)
    assert_arrived(lake, source, warehouse)


@pytest.mark.scenario("S12")
def test_a_machine_that_dies_in_the_middle_of_an_upload_leaves_nothing_that_counts(
    lake: Lake, bucket: Bucket, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE t SET v = (SELECT string_agg(md5(id || '-' || n), '') FROM generate_series(1, 300) AS n)")
    extract_killed(replace(lake, chunk_rows=ROWS), "before core.storage:GuardedFile.close 1", "again")
    assert (bucket.keys, bucket.unfinished_uploads) == ([], 1)
    extraction = lake.extract("again")
    assert lake.load(extraction) == Counts(inserted=ROWS)
    lake.advance(extraction)
    assert_arrived(lake, source, warehouse)


def test_a_missing_a_short_and_a_damaged_chunk(
    lake: Lake, bucket: Bucket, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    extraction = lake.extract()
    first, second, third = bucket.keys
    bucket.delete(first)
    with pytest.raises(StateError, match=r"Chunk 0 of the extraction is gone from s3://.*: clear the extract task too"):
        lake.load(only(extraction, 0))
    bucket.put(second, bucket.get(second)[:-1])
    with pytest.raises(StateError, match=r"Chunk 1 of the extraction .* is cut short: clear the extract task too"):
        lake.load(only(extraction, 1))
    bucket.put(third, bytes(byte ^ 0xFF for byte in bucket.get(third)))
    with pytest.raises(StateError, match=r"Chunk 2 of the extraction .* is damaged: clear the extract task too"):
        lake.load(only(extraction, 2))
    assert watermark(warehouse) is None
    assert lake.run("chain") == Counts(inserted=ROWS)
    assert rows(warehouse) == rows(source)


def only(extraction: Extraction, number: int) -> Extraction:
    return replace(extraction, chunks=(extraction.chunks[number],))


@pytest.mark.parametrize("step", ["extract", "load"])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"key": "AKIAUNKNOWN"}, "the storage refuses it. Correct the credentials"),
        ({"secret": "do-not-show"}, "the storage refuses it. Correct the credentials"),
        ({"name": "no-such-bucket"}, "no such bucket|is gone from"),
    ],
    ids=["key", "secret", "bucket"],
)
def test_a_wrong_connection_is_told_at_once(
    lake: Lake, bucket: Bucket, source: psycopg.Connection, warehouse: psycopg.Connection,
    step: str, wrong: dict[str, Any], words: str,
) -> None:  # fmt: skip
    extraction = lake.extract() if step == "load" else None
    astray = lake.on(replace(bucket, **wrong))
    with pytest.raises(EtlSyncError, match=words) as caught:
        astray.load(extraction) if extraction else astray.extract()
    assert not caught.value.is_retryable
    assert bucket.secret not in str(caught.value) and "do-not-show" not in str(caught.value)
    assert lake.run("chain") == Counts(inserted=ROWS)
    assert rows(warehouse) == rows(source)


def test_a_storage_that_does_not_answer_is_tried_again(
    lake: Lake, bucket: Bucket, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    astray = lake.on(replace(bucket, endpoint="http://127.0.0.1:1"))
    with pytest.raises(SourceError, match=r"Could not write chunk 0 below s3://.*: EndpointConnectionError") as caught:
        astray.extract("again")
    assert caught.value.is_retryable
    extraction = lake.extract("again")
    assert lake.load(extraction) == Counts(inserted=ROWS)
    lake.advance(extraction)
    assert_arrived(lake, source, warehouse)


def test_a_connection_that_breaks_while_a_chunk_is_read_is_no_damage(
    lake: Lake, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunk is whole: whoever were told that it is damaged would read the source again for nothing."""
    import s3fs.core

    source.execute("UPDATE t SET v = (SELECT string_agg(md5(id || '-' || n), '') FROM generate_series(1, 30) AS n)")
    extraction = replace(lake, chunk_rows=ROWS).extract()
    real, calls = s3fs.core._fetch_range, count()

    def breaking(*arguments: Any, **named: Any) -> Any:
        if next(calls) >= whole:
            raise ReadTimeoutError(endpoint_url="http://127.0.0.1")
        return real(*arguments, **named)

    for whole in (0, 1):
        calls = count()
        with monkeypatch.context() as network:
            network.setattr(s3fs.core, "_fetch_range", breaking)
            network.setattr(storage, "BLOCK_BYTES", 1024)
            with pytest.raises(SourceError, match=r"Could not read chunk 0 .*: ReadTimeoutError") as caught:
                lake.load(extraction, try_number=1 + whole)
        assert caught.value.is_retryable
        assert next(calls) > whole
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.loaded_chunk") == 0
    assert lake.load(extraction, try_number=9) == Counts(inserted=ROWS)

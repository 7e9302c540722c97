"""Plain Parquet files as a destination: what is added, what a crash leaves, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pyarrow.dataset as ds
import pytest
from sqlalchemy import Engine

from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, TableName
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.journey.failed_records import replay_all
from airflow_etl_sync.systems.parquet.destination import ParquetDestination
from airflow_etl_sync.systems.parquet.files import BucketFiles, DirectoryFiles, LakeFiles
from tests.lakes import EXACT, Dying, LakeWorld, fill
from tests.object_storage import Bucket
from tests.scenarios.world import FORMS, Form, scalar


@pytest.fixture(params=["directory", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> LakeFiles:
    if request.param == "directory":
        return DirectoryFiles(tmp_path / "lake")
    bucket: Bucket = request.getfixturevalue("bucket")
    path = bucket.path("lake")
    return BucketFiles(path.fs, path.path)


@pytest.fixture
def world(source_db: str, warehouse_db: str, tmp_path: Path, files: LakeFiles) -> LakeWorld:
    return LakeWorld(source_db, warehouse_db, tmp_path / "staging", made=into(files), chunk_rows=4)


def into(files: LakeFiles, *partitions: str) -> Any:
    def made(state: Engine) -> ParquetDestination:
        return ParquetDestination(files, TableName("t"), state, partitions)

    return made


def loaded(files: LakeFiles) -> list[tuple[Any, ...]]:
    """The rows as any reader of the lake finds them."""
    if isinstance(files, DirectoryFiles):
        found = ds.dataset(files._root / "t", format="parquet", partitioning="hive")
    else:
        assert isinstance(files, BucketFiles)
        files._filesystem.invalidate_cache()
        place = f"{files._prefix}/t"
        found = ds.dataset(place, filesystem=files._filesystem, format="parquet", partitioning="hive")
    return sorted((tuple(row.values()) for row in found.to_table().to_pylist()), key=str)


def in_source(source: psycopg.Connection) -> list[tuple[Any, ...]]:
    return sorted(source.execute("SELECT * FROM t").fetchall(), key=str)


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_added(world: LakeWorld, source: psycopg.Connection, files: LakeFiles, form: Form) -> None:
    fill(source)
    assert world.run(form) == Counts(inserted=10)
    assert loaded(files) == in_source(source)
    source.execute("INSERT INTO t VALUES (11, 200, NULL)")
    assert world.run(form) == Counts(inserted=2)  # the last one of the first run lies at the watermark, and comes again
    assert set(loaded(files)) == set(in_source(source)) and len(loaded(files)) == 12


def test_every_value_lands_exactly(world: LakeWorld, source: psycopg.Connection, files: LakeFiles) -> None:
    columns = ", ".join(f"v{n} {type_}" for n, (type_, _, _) in enumerate(EXACT))
    source.execute(f"CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, {columns})")
    source.execute(f"INSERT INTO t VALUES (1, 1, {', '.join(value for _, value, _ in EXACT)})")
    assert world.run() == Counts(inserted=1)
    assert loaded(files)[0][2:] == tuple(value for _, _, value in EXACT)


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("partitions", [(), ("v",)])
def test_what_has_landed_before_a_crash_is_counted_once(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, files: LakeFiles, form: Form,
    partitions: tuple[str, ...],
) -> None:  # fmt: skip
    fill(source)
    source.execute("UPDATE t SET v = CASE WHEN id % 3 = 0 THEN 'a/b' WHEN id % 3 = 1 THEN 'ä' END")
    world = world.but(made=into(files, *partitions))
    dying = world.but(made=lambda state: Dying(world.made(state), 1))
    extraction = world.extract() if form == "chain" else None
    with pytest.raises(InterruptedError):
        dying.load(extraction) if extraction else dying.sync("run")
    assert (world.load(extraction) if extraction else world.sync("run").counts) == Counts(inserted=10)
    assert loaded(files) == in_source(source)
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.loaded_chunk") == 3


@pytest.mark.scenario("S12")
def test_what_a_crash_has_left_of_a_chunk_is_replaced(
    world: LakeWorld, source: psycopg.Connection, files: LakeFiles
) -> None:
    fill(source)
    source.execute("UPDATE t SET v = (id % 2)::text")
    world = world.but(made=into(files, "v"))
    failing = world.but(made=into(_FullAfter(files, 3), "v"))
    with pytest.raises(Exception, match="the storage failed"):
        failing.sync("run")
    source.execute("UPDATE t SET v = '7' WHERE id BETWEEN 5 AND 8")  # the rows go elsewhere the second time
    assert world.sync("run").counts == Counts(inserted=10)
    assert [(row[0], row[1]) for row in loaded(files)] == [(row[0], row[1]) for row in in_source(source)]


class _FullAfter:
    """A disk that is full after so many files."""

    def __init__(self, files: LakeFiles, most: int) -> None:
        self._files, self._left = files, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def create(self, directory: str, name: str) -> Any:
        self._left -= 1
        if self._left < 0:
            raise OSError(28, "No space left on device")
        return self._files.create(directory, name)


@pytest.mark.parametrize(
    "rules",
    [LoadRules(conflict="latest_wins"), LoadRules(conflict="dest_wins"), LoadRules(schema_contract="freeze")],
)
def test_what_would_look_at_rows_that_are_there_is_refused(
    world: LakeWorld, source: psycopg.Connection, rules: LoadRules
) -> None:
    fill(source, 2)
    with pytest.raises(ConfigurationError, match="Rows are only ever added to the Parquet files of 't'"):
        world.but(load_rules=rules).run()


def test_a_partition_column_must_be_there(world: LakeWorld, source: psycopg.Connection, files: LakeFiles) -> None:
    fill(source, 2)
    with pytest.raises(ConfigurationError, match="has no column 'day' to partition 't' by"):
        world.but(made=into(files, "day")).run()


def test_failed_records_are_replayed_once(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, files: LakeFiles
) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, at date)")
    source.execute("INSERT INTO t VALUES (1, 1, 'infinity'), (2, 2, '2026-01-01')")
    assert world.but(load_rules=LoadRules(max_errors=1)).run() == Counts(inserted=1, errors=1)
    warehouse.execute("""UPDATE etl_sync.failed_record SET payload = payload::jsonb || '{"at": "2026-01-02"}'""")
    engine, identity = world.destination.engine, RunIdentity("d", "t", "r")
    dying = Dying(world.destination)
    with pytest.raises(InterruptedError):
        replay_all(lambda _: dying, engine, "t", identity)
    assert replay_all(lambda _: world.destination, engine, "t", identity) == Counts(inserted=1)
    assert len(loaded(files)) == 2
    assert scalar(warehouse, "SELECT closed_by FROM etl_sync.failed_record") == "replay"


def test_failed_records_make_no_lake_where_there_is_none(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, at date)")
    source.execute("INSERT INTO t VALUES (1, 1, 'infinity')")
    away = DirectoryFiles(tmp_path / "away")
    world = LakeWorld(world.source_db, world.warehouse_db, tmp_path / "staging", made=into(away), chunk_rows=4)
    assert world.but(load_rules=LoadRules(max_errors=1)).run() == Counts(errors=1)
    engine, identity = world.destination.engine, RunIdentity("d", "t", "r")
    with pytest.raises(ConfigurationError, match="There is no table 't in place"):
        replay_all(lambda _: world.destination, engine, "t", identity)
    assert not (tmp_path / "away").exists()

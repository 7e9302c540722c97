"""Delta Lake as a destination: what lands, what a crash leaves, who wins, what others do to the table meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from airflow_etl_sync.core.model import Counts, LoadRules, TableName
from airflow_etl_sync.errors import ConfigurationError, DataError, DestinationError, SchemaError, StateError
from airflow_etl_sync.systems.delta import destination as delta_destination
from airflow_etl_sync.systems.delta import merging
from airflow_etl_sync.systems.delta.access import DeltaAccess
from airflow_etl_sync.systems.delta.destination import DeltaDestination
from tests.lakes import EXACT, Dying, LakeWorld, delta, fill, source_rows
from tests.object_storage import REGION, Bucket, ObjectStorageApart
from tests.scenarios.world import FORMS, Form, scalar, watermark


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def world(source_db: str, warehouse_db: str, tmp_path: Path, root: Path) -> LakeWorld:
    return LakeWorld(source_db, warehouse_db, tmp_path / "staging", made=delta(root), chunk_rows=4)


def lake_rows(root: Path | str, options: dict[str, str] | None = None) -> list[tuple[Any, ...]]:
    found = DeltaTable(f"{root}/t", storage_options=options).to_pyarrow_table()
    return sorted(tuple(row.values()) for row in found.to_pylist())


# -- what lands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_kept_in_step(world: LakeWorld, source: psycopg.Connection, root: Path, form: Form) -> None:
    fill(source)
    assert world.run(form) == Counts(inserted=10)
    assert lake_rows(root) == source_rows(source)
    source.execute("UPDATE t SET v = 'new', c = c + 100 WHERE id IN (2, 9)")
    source.execute("INSERT INTO t VALUES (11, 200, NULL)")
    counts = world.run(form)
    assert (counts.inserted, counts.updated, counts.errors) == (1, 2, 0)
    assert lake_rows(root) == source_rows(source)


def test_every_value_lands_exactly(world: LakeWorld, source: psycopg.Connection, root: Path) -> None:
    columns = ", ".join(f"v{n} {type_}" for n, (type_, _, _) in enumerate(EXACT))
    source.execute(f"CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, {columns})")
    source.execute(f"INSERT INTO t VALUES (1, 1, {', '.join(value for _, value, _ in EXACT)})")
    source.execute("INSERT INTO t (id, c) VALUES (2, 2)")
    assert world.run() == Counts(inserted=2)
    first, second = lake_rows(root)
    assert first[2:] == tuple(value for _, _, value in EXACT)
    assert second[2:] == (None,) * len(EXACT)
    source.execute("UPDATE t SET c = 1")
    again = world.but(rules=replace(world.rules, full_refresh=True))
    assert again.run() == Counts(updated=1, skipped=1)  # the one whose cursor has changed


@pytest.mark.parametrize(
    ("type_", "value", "why"),
    [
        ("numeric(12,2)", "'NaN'", "decimal128(12, 2)"),
        ("date", "'infinity'", "date32"),
        ("timestamptz", "'-infinity'", "timestamp[us, tz=UTC]"),
    ],
)
def test_a_value_that_a_lake_cannot_hold_is_set_aside_or_refused(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, root: Path,
    type_: str, value: str, why: str,
) -> None:  # fmt: skip
    source.execute(f"CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, v {type_})")
    source.execute(f"INSERT INTO t VALUES (1, 1, NULL), (2, 2, {value})")
    with pytest.raises(DataError, match="1 rows of one chunk for 't' cannot be loaded"):
        world.run()
    counts = world.but(load_rules=LoadRules(max_errors=1)).run()
    assert counts == Counts(inserted=1, errors=1)
    assert lake_rows(root) == [(1, 1, None)]
    kept = warehouse.execute("SELECT payload->>'v', error FROM etl_sync.failed_record").fetchone()
    assert kept is not None and kept[0].lower() == value.strip("'").lower() and why in kept[1]


def test_zero_and_minus_zero_are_two_values(world: LakeWorld, source: psycopg.Connection, root: Path) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, v double precision)")
    source.execute("INSERT INTO t VALUES (1, 1, 0), (2, 2, 'NaN'), (3, 3, NULL)")
    world.run()
    source.execute("UPDATE t SET v = '-0' WHERE id = 1")
    assert world.but(rules=replace(world.rules, full_refresh=True)).run() == Counts(updated=1, skipped=2)
    assert str(lake_rows(root)[0][2]) == "-0.0"


def test_replayed_records_land_as_the_others(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, root: Path
) -> None:
    from airflow_etl_sync.core.model import RunIdentity
    from airflow_etl_sync.journey.failed_records import replay_all

    columns = EXACT
    names = ", ".join(f"v{n} {type_}" for n, (type_, _, _) in enumerate(columns))
    values = ", ".join(value for _, value, _ in columns)
    source.execute(f"CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, {names}, bad date)")
    source.execute(f"INSERT INTO t VALUES (1, 1, {values}, 'infinity')")
    assert world.but(load_rules=LoadRules(max_errors=1)).run() == Counts(errors=1)
    warehouse.execute("""UPDATE etl_sync.failed_record SET payload = payload::jsonb || '{"bad": "2026-01-02"}'""")
    destination = world.destination
    assert replay_all(lambda _: destination, destination.engine, "t", RunIdentity("d", "t", "r")) == Counts(inserted=1)
    [row] = lake_rows(root)
    assert row[2:] == (*(value for _, _, value in columns), date(2026, 1, 2))


def test_the_time_of_loading_is_kept(world: LakeWorld, source: psycopg.Connection, root: Path) -> None:
    fill(source, 2)
    rules = LoadRules(synced_at_column="synced_at")
    world.but(load_rules=rules).run()
    first = lake_rows(root)
    source.execute("UPDATE t SET v = 'new' WHERE id = 1")
    world.but(load_rules=rules, rules=replace(world.rules, full_refresh=True)).run()
    second = lake_rows(root)
    assert second[0][3] > first[0][3] and second[1] == first[1]


def test_a_new_table_can_be_partitioned(world: LakeWorld, source: psycopg.Connection, root: Path) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint NOT NULL, v text)")
    source.execute("INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, NULL)")
    access = DeltaAccess(str(root), partitions={"t": ["v"]})
    world = world.but(made=lambda state: DeltaDestination(access, TableName("t"), state))
    assert world.run() == Counts(inserted=3)
    source.execute("UPDATE t SET v = 'b', c = 9 WHERE id = 1")
    assert world.run().updated == 1
    assert lake_rows(root) == source_rows(source)
    assert DeltaTable(root / "t").metadata().partition_columns == ["v"]
    assert (root / "t" / "v=b").is_dir()


# -- crashes ----------------------------------------------------------------------------------------------


@pytest.mark.scenario("S12")
@pytest.mark.parametrize("chunk", [0, 1])
@pytest.mark.parametrize("form", FORMS)
def test_what_has_landed_before_a_crash_is_counted_once(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, root: Path, form: Form, chunk: int
) -> None:
    fill(source)
    source.execute("ALTER TABLE t ADD d date")
    source.execute("UPDATE t SET d = 'infinity' WHERE id IN (2, 6)")
    world = world.but(load_rules=LoadRules(max_errors=2))
    dying = world.but(made=lambda state: Dying(delta(root)(state), chunk))
    extraction = world.extract() if form == "chain" else None
    with pytest.raises(InterruptedError):
        dying.load(extraction) if extraction else dying.sync("run")
    landed = lake_rows(root)
    if form == "one_task":  # the source gives other rows the second time
        source.execute("DELETE FROM t WHERE id = 1")
        source.execute("INSERT INTO t VALUES (-1, 1, 'between', NULL)")
    counts = world.load(extraction) if extraction else world.sync("run").counts
    assert counts == Counts(inserted=8, errors=2)
    assert set(landed) <= set(lake_rows(root)) and len(lake_rows(root)) == 8
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.failed_record") == 2
    if extraction:
        world.advance(extraction)
    assert watermark(warehouse) is not None


def test_a_chunk_that_changes_nothing_is_remembered_too(world: LakeWorld, source: psycopg.Connection) -> None:
    fill(source, 3)
    world.run()
    again = world.but(rules=replace(world.rules, full_refresh=True))
    extraction = again.extract()
    assert again.load(extraction) == Counts(skipped=3)
    landed = again.destination.recall(extraction.extraction_id)
    assert {number: found.merged.counts for number, found in landed.items()} == {0: Counts(skipped=3)}


def test_a_chunk_lands_once(world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    fill(source, 3)
    extraction = world.extract()
    world.load(extraction)
    warehouse.execute("DELETE FROM etl_sync.loaded_chunk")
    blind = world.but(made=lambda state: _Blind(world.destination))
    with pytest.raises(StateError, match="has been loaded by another try meanwhile") as refused:
        blind.load(extraction)
    assert refused.value.is_retryable


class _Blind(Dying):
    """One that has not looked at the log before it loads."""

    def __init__(self, destination: Any) -> None:
        super().__init__(destination, -1)

    def recall(self, extraction_id: str) -> dict[int, Any]:
        return {}


@pytest.mark.scenario("S13")
def test_an_older_run_lands_nothing_after_a_newer_one(
    world: LakeWorld, source: psycopg.Connection, warehouse: psycopg.Connection, root: Path
) -> None:
    fill(source, 3)
    older = world.extract()
    warehouse.execute("UPDATE etl_sync.sync_run SET started_at = started_at - interval '1 hour'")
    source.execute("UPDATE t SET v = 'newer'")
    newer = world.extract()
    world.load(newer)
    warehouse.execute("UPDATE etl_sync.sync_run SET is_overtaken = false")  # as the older one saw it before it slept
    before = lake_rows(root)
    with pytest.raises(StateError, match="A newer run of 't' has loaded t"):
        world.load(older)
    assert lake_rows(root) == before


# -- others -----------------------------------------------------------------------------------------------


def test_another_writer_in_between_makes_the_merge_begin_anew(
    world: LakeWorld, source: psycopg.Connection, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 3)
    world.run()
    source.execute("UPDATE t SET v = 'new', c = 9 WHERE id = 1")
    source.execute("INSERT INTO t VALUES (4, 10, 'four')")
    merge, met = merging.merge, list[int]()

    def met_by_another(table: DeltaTable, *terms: Any) -> Any:
        if not met:  # the other one brings a row that this merge would have inserted
            met.append(1)
            row = pa.table({"id": pa.array([4], pa.int32()), "c": pa.array([1], pa.int64()), "v": ["other's"]})
            write_deltalake(DeltaTable(root / "t"), row, mode="append")
        return merge(table, *terms)

    monkeypatch.setattr(merging, "merge", met_by_another)
    counts = world.run()
    assert met and (counts.inserted, counts.updated) == (0, 2)
    assert lake_rows(root) == source_rows(source)


def test_a_chunk_is_found_again_though_others_commit_what_is_no_conflict(
    world: LakeWorld, source: psycopg.Connection, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 3)
    world.run()
    source.execute("UPDATE t SET v = 'new'")
    merge, met = merging.merge, list[int]()

    def met_by_another(table: DeltaTable, *terms: Any) -> Any:
        if not met:
            met.append(1)
            DeltaTable(root / "t").create_write_transaction([], "append", table.schema())
        return merge(table, *terms)

    monkeypatch.setattr(merging, "merge", met_by_another)
    again = world.but(rules=replace(world.rules, full_refresh=True))
    extraction = again.extract()
    assert again.load(extraction) == Counts(updated=3)
    landed = again.destination.recall(extraction.extraction_id)
    assert [found.merged.counts for found in landed.values()] == [Counts(updated=3)]


def test_writers_without_end_make_a_retry(
    world: LakeWorld, source: psycopg.Connection, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 3)
    world.run()
    source.execute("UPDATE t SET v = 'new'")
    merge = merging.merge
    monkeypatch.setattr(delta_destination, "_ATTEMPTS", 2)

    def always_met(table: DeltaTable, *terms: Any) -> Any:
        DeltaTable(root / "t").create_write_transaction(
            [], "append", table.schema(), commit_properties=CommitProperties(max_commit_retries=9)
        )
        return merge(table, *terms)

    monkeypatch.setattr(merging, "merge", always_met)
    with pytest.raises(DestinationError, match="Others have committed to 't'") as failed:
        world.run()
    assert failed.value.is_retryable


def test_parts_that_load_at_once_wait_for_each_other(world: LakeWorld, source: psycopg.Connection, root: Path) -> None:
    fill(source, 40)
    extraction = world.extract()
    parts, counts = extraction.parts(4), list[Counts]()
    threads = [threading.Thread(target=lambda part=part: counts.append(world.load(part))) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts, Counts()) == Counts(inserted=40)
    assert lake_rows(root) == source_rows(source)
    assert len(list((root / "t").glob("*.parquet"))) == 10  # one file a chunk, none written in vain


# -- columns ----------------------------------------------------------------------------------------------


def test_a_column_keeps_its_type_and_rows_that_do_not_fit_are_told(
    world: LakeWorld, source: psycopg.Connection, root: Path
) -> None:
    fill(source, 2)
    source.execute("ALTER TABLE t ADD n integer")
    world.run()
    source.execute("ALTER TABLE t ALTER n TYPE bigint")
    source.execute("UPDATE t SET n = 5, c = 10 WHERE id = 1")
    assert world.run().updated == 1  # it fits
    source.execute("UPDATE t SET n = 5000000000, c = 20 WHERE id = 2")
    with pytest.raises(DataError, match=r"column n: the value is not the same as int32: 1"):
        world.run()
    with pytest.raises(SchemaError, match=r"n \(bigint into int32\)"):
        world.but(load_rules=LoadRules(schema_contract="freeze")).run()
    assert lake_rows(root)[1][3] is None


def test_latest_wins_goes_by_no_number_that_is_kept_as_text(world: LakeWorld, source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c numeric NOT NULL)")
    source.execute("INSERT INTO t VALUES (1, 9)")
    with pytest.raises(ConfigurationError, match=r"'c' is kept as text .* convert it to numeric\(38, s\)"):
        world.but(load_rules=LoadRules(conflict="latest_wins")).run()


def test_an_absent_table_is_not_created_unasked(world: LakeWorld, source: psycopg.Connection, root: Path) -> None:
    fill(source, 2)
    with pytest.raises(SchemaError, match="has no table 't' and create_table is off"):
        world.but(load_rules=LoadRules(create_table=False)).run()
    assert not (root / "t").exists()


@pytest.mark.scenario("S23")
@pytest.mark.parametrize("name", ["Or der", "größe", "t; drop table x", "select", 'a"b', "it's"])
def test_names_are_taken_literally(world: LakeWorld, source: psycopg.Connection, root: Path, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    source.execute(f'CREATE TABLE t ({quoted} integer PRIMARY KEY, c bigint, {quoted[:-1]} 2" text)')
    source.execute("INSERT INTO t VALUES (1, 1, 'a')")
    access = DeltaAccess(str(root))
    world = world.but(made=lambda state: DeltaDestination(access, TableName(name, "s"), state))
    assert world.run() == Counts(inserted=1)
    source.execute(f"UPDATE t SET {quoted[:-1]} 2\" = 'b', c = 2")
    assert world.run().updated == 1
    assert DeltaTable(f"{root}/s/{name}").to_pyarrow_table().to_pylist() == [{name: 1, "c": 2, f"{name} 2": "b"}]


@pytest.mark.scenario("S28")
@pytest.mark.parametrize("name", ["../t", "_delta_log", ".hidden", "a/b", "a%2Fb", "a*"])
def test_a_table_stays_under_its_root(world: LakeWorld, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is a directory of the lake: choose a name"):
        DeltaAccess("/lake").uri(TableName(name))


# -- S3 ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def storage_apart() -> Iterator[ObjectStorageApart]:
    with ObjectStorageApart() as storage:
        yield storage


@pytest.fixture
def bucket(storage_apart: ObjectStorageApart) -> Bucket:
    return storage_apart.new_bucket()


def options_of(bucket: Bucket) -> dict[str, str]:
    return {
        "aws_access_key_id": bucket.key, "aws_secret_access_key": bucket.secret, "aws_region": REGION,
        "aws_endpoint_url": bucket.endpoint, "aws_allow_http": "true",
    }  # fmt: skip


@pytest.mark.scenario("S12")
def test_a_bucket_is_kept_in_step_and_a_crash_counted_once(
    world: LakeWorld, source: psycopg.Connection, bucket: Bucket
) -> None:
    fill(source)
    root, options = f"s3://{bucket.name}/lake", options_of(bucket)
    world = world.but(made=delta(root, options))
    with pytest.raises(InterruptedError):
        world.but(made=lambda state: Dying(delta(root, options)(state), 1)).sync("run")
    assert world.sync("run").counts == Counts(inserted=10)
    source.execute("UPDATE t SET v = 'new', c = c + 100 WHERE id = 2")
    assert world.run().updated == 1
    assert lake_rows(root, options) == source_rows(source)
    assert bucket.unfinished_uploads == 0


@pytest.mark.parametrize(
    ("changes", "root", "said"),
    [
        ({"aws_secret_access_key": "wrong"}, "s3://{bucket}/lake", "the storage refuses it"),
        ({}, "s3://no-such-bucket-of-anybody/lake", "there is no such bucket"),
    ],
)
def test_a_storage_that_refuses_is_told_at_once(
    world: LakeWorld, source: psycopg.Connection, bucket: Bucket, changes: dict[str, str], root: str, said: str
) -> None:
    fill(source)
    world = world.but(made=delta(root.format(bucket=bucket.name), options_of(bucket) | changes))
    with pytest.raises(ConfigurationError, match=said) as refused:
        world.run()
    assert not refused.value.is_retryable and bucket.key not in str(refused.value)

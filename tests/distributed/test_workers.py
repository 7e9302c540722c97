"""S12 on several machines: two Celery workers that share object storage only, and one of them is lost in mid-load."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.distributed.cluster import Cluster, Process, wait_until
from tests.object_storage import Bucket

pytestmark = [
    pytest.mark.scenario("S12"),
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on this machine for Celery"),
]

DAG = "orders_on_workers"
ROWS = 2_000
CHUNKS = 20
LOADS = 4
ORDERS = """
CREATE TABLE public.orders (
    id bigint PRIMARY KEY,
    status text NOT NULL,
    updated_at timestamptz NOT NULL
)
"""
# The first merges pass; then all loads stand still in the middle of a merge, for as long as the test holds the lock.
STAND_STILL = """
CREATE SEQUENCE public.merges;
CREATE FUNCTION public.stand_still() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('public.merges') > 2 THEN
        PERFORM pg_advisory_xact_lock_shared(7);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER stand_still BEFORE INSERT OR UPDATE ON public.orders
    FOR EACH STATEMENT EXECUTE FUNCTION public.stand_still()
"""
STANDING_STILL = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted"
LOADED = "SELECT number FROM etl_sync.loaded_chunk ORDER BY number"
COUNTS = "SELECT status, rows_extracted, inserted, updated, skipped, errors FROM etl_sync.sync_run ORDER BY started_at"


@pytest.fixture
def cluster(new_database: Callable[[str], str], bucket: Bucket, tmp_path: Path) -> Iterator[Cluster]:
    settings = {"ETL_SYNC__STAGING_URI": f"s3://lake@{bucket.name}/team/staging"}
    dags = Path(__file__).with_name("bundle")
    with Cluster(tmp_path / "machines", dags, new_database("airflow"), settings) as cluster:
        cluster.add_connection("lake", bucket.connection())
        yield cluster


@pytest.fixture
def orders(source: psycopg.Connection, warehouse: psycopg.Connection) -> psycopg.Connection:
    source.execute(ORDERS)
    source.execute(
        "INSERT INTO orders SELECT i, 'new', now() - interval '1 hour' FROM generate_series(1, %s) AS i", [ROWS]
    )
    warehouse.execute(ORDERS)
    warehouse.execute(STAND_STILL)
    return source


def as_fields(conninfo: str) -> dict[str, Any]:
    parts = conninfo_to_dict(conninfo)
    names = {"host": "host", "login": "user", "password": "password", "schema": "dbname"}
    fields = {field: parts[name] for field, name in names.items() if parts.get(name)}
    return {"conn_type": "postgres", "port": int(parts.get("port") or 5432), **fields}


@contextmanager
def holding_up_loads(warehouse_db: str) -> Iterator[None]:
    with psycopg.connect(warehouse_db, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(7)")
        yield


def loads_of(worker: Process) -> set[int]:
    """The parts of the load that a worker has taken on, by their places."""
    folders = (worker.home / "logs").glob(f"dag_id={DAG}/run_id=*/task_id=orders.load/map_index=*")
    return {int(folder.name.removeprefix("map_index=")) for folder in folders}


def test_a_worker_that_is_lost_in_mid_load_costs_nothing_but_time(
    cluster: Cluster, bucket: Bucket, orders: psycopg.Connection, warehouse: psycopg.Connection,
    source_db: str, warehouse_db: str,
) -> None:  # fmt: skip
    cluster.add_connection("shop_db", as_fields(source_db))
    cluster.add_connection("warehouse", as_fields(warehouse_db))
    workers = [cluster.add_worker(), cluster.add_worker()]
    cluster.api.unpause(DAG)
    with holding_up_loads(warehouse_db):
        run_id = cluster.api.trigger(DAG)
        wait_until("all loads stand still", lambda: warehouse.execute(STANDING_STILL).fetchone() == (LOADS,))
        loaded = [number for (number,) in warehouse.execute(LOADED)]
        assert len(loaded) == 2
        assert [len(loads_of(worker)) for worker in workers] == [2, 2]
        assert len(bucket.keys) == CHUNKS
        lost = next(worker for worker in workers if loaded[0] % LOADS in loads_of(worker))
        interrupted = loads_of(lost)
        lost.lose_power()
    cluster.wait_for_run(DAG, run_id)

    query = "SELECT * FROM orders ORDER BY id"
    assert warehouse.execute(query).fetchall() == orders.execute(query).fetchall()
    assert warehouse.execute(COUNTS).fetchall() == [("done", ROWS, ROWS, 0, 0, 0)]
    assert warehouse.execute(LOADED).fetchall() == [(number,) for number in range(CHUNKS)]
    tasks = cluster.task_instances(DAG, run_id)
    again = {task["map_index"] for task in tasks if task["try_number"] > 1}
    assert again == interrupted
    assert {task["task_id"] for task in tasks if task["try_number"] > 1} == {"orders.load"}
    survivor = next(worker for worker in workers if worker is not lost)
    assert loads_of(survivor) == set(range(LOADS))
    assert bucket.keys == []
    assert list(cluster.root.rglob("etl_sync_staging")) == []
    assert_no_secret_is_told(cluster, bucket)

    orders.execute("UPDATE orders SET status = 'paid', updated_at = now() WHERE id <= 150")
    orders.execute("INSERT INTO orders SELECT %s + i, 'new', now() FROM generate_series(1, 50) AS i", [ROWS])
    cluster.wait_for_run(DAG, cluster.api.trigger(DAG))
    assert warehouse.execute(query).fetchall() == orders.execute(query).fetchall()
    *_, (status, _, inserted, updated, _, errors) = warehouse.execute(COUNTS).fetchall()
    assert (status, inserted, updated, errors) == ("done", 50, 150, 0)
    assert bucket.keys == []


def assert_no_secret_is_told(cluster: Cluster, bucket: Bucket) -> None:
    """Neither what components print and log, nor what tasks hand on, shows how to log in anywhere."""
    told = cluster.output()
    with psycopg.connect(cluster.metadata) as connection:
        handed_on = connection.execute("SELECT value::text FROM xcom").fetchall()
    assert any(bucket.name in value for (value,) in handed_on)
    for value in (bucket.secret, bucket.key, str(conninfo_to_dict(cluster.metadata).get("password"))):
        assert value not in told
        assert value not in str(handed_on)

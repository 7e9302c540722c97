"""The demonstration's act of change data capture: right when all arrived, wrong when one row or count is not so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from airflow_etl_sync.demo.capture import CDC_DAG, compare_captured, complaints_about
from airflow_etl_sync.demo.captured import Captured, read_captured
from airflow_etl_sync.demo.changes import TradingDay
from airflow_etl_sync.demo.shop import Shop
from airflow_etl_sync.demo.stage import CAPTURED
from tests.dags.conftest import Airflow

if TYPE_CHECKING:
    from collections.abc import Callable

ORDERS = 3_000


@dataclass(frozen=True)
class Played:
    """The act as it was played."""

    source_db: str
    warehouse_db: str
    first: Captured
    second: Captured
    day: TradingDay

    def complaints(self) -> list[str]:
        comparisons = compare_captured(self.source_db, self.warehouse_db)
        return complaints_about(self.first, self.second, self.day, comparisons)


@pytest.fixture
def played(airflow: Airflow, source_db: str, warehouse_db: str, slots: Callable[[str], str]) -> Played:
    shop = Shop(source_db)
    shop.create(ORDERS)
    tables = [f"public.{table}" for table in CAPTURED]
    extra = {"slot": slots(source_db), "tables": ", ".join(tables)}
    airflow.connect("shop_cdc", source_db, conn_type="postgres_cdc", extra=extra)

    def capture() -> Captured:
        run = airflow.run(CDC_DAG)
        assert run.state == "success", run.errors
        return read_captured(warehouse_db, run.run_id, run.results("capture")[0])

    first, day, second = capture(), shop.trade(), capture()
    return Played(source_db, warehouse_db, first, second, day)


def test_right_when_all_arrived_and_wrong_when_not(played: Played, warehouse: psycopg.Connection) -> None:
    assert played.complaints() == []
    assert played.second.deleted > 60 and played.second.truncated == 1
    one_less = replace(played, second=replace(played.second, deleted=played.second.deleted - 1))
    deleted = played.second.deleted
    assert one_less.complaints() == [f"second run: deleted {deleted - 1} instead of {deleted}"]

    key = min(played.day.tables["orders"].deleted)
    warehouse.execute(
        "INSERT INTO orders_live (id, user_id, status, created_at, updated_at) VALUES (%s, 1, 'new', now(), now())",
        (key,),
    )
    assert played.complaints() == [f"orders: row {key} is only in the destination"]
    warehouse.execute("DELETE FROM orders_live WHERE id = %s", (key,))
    repriced = max(played.day.tables["products"].updated)
    warehouse.execute("UPDATE products SET description = '' WHERE id = %s", (repriced,))
    assert played.complaints() == [f"products: row {repriced} differs in description"]

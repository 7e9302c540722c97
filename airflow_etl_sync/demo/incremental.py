"""Acts one and two: a first load, a busy shop, a second run that moves only what changed, and the proof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_etl_sync.demo.airflow import packaged_dags
from airflow_etl_sync.demo.changes import Changes
from airflow_etl_sync.demo.comparison import Comparison, compare
from airflow_etl_sync.demo.report import RunRecord, read_run, table_of

if TYPE_CHECKING:
    from airflow_etl_sync.demo.shop import LateTransaction, Shop
    from airflow_etl_sync.demo.stage import Play

ORDERS_DAG = "orders_hourly"
FACT_TABLE = ("public", "fact_orders")


def sync_twice(play: Play, shop: Shop, orders: int) -> bool:
    """Run the hourly DAG before and after a busy day, and tell whether source and warehouse agree.

    :param orders: how many the shop has
    """
    with shop.late_transaction(first=0, orders=20) as late:
        # Later than the open transaction: whoever goes by the largest updated_at has now passed its rows.
        shop.change_orders(first=20, orders=10)
        first = _run(play, "First load, while a transaction of the shop stays open")
        changes = _busy_day(play, shop, late)
    second = _run(play, "Second run")
    play.steps.console.print(table_of(first, second))
    play.steps.console.print(f"Protection of the window: {second.protection}", highlight=False, soft_wrap=True)
    with play.steps.step("Compare source and warehouse row by row"):
        comparison = compare_orders(play.stage.shop, play.stage.warehouse)
    return play.judge(
        complaints_about(first, second, orders, changes, comparison),
        f"{comparison.source_rows:,} rows, the same on both sides; the second run moved the "
        f"{len(changes.inserted) + len(changes.updated):,} that changed and no others.",
    )


def _run(play: Play, title: str) -> RunRecord:
    return read_run(play.stage.warehouse, play.run(ORDERS_DAG, title))


def _busy_day(play: Play, shop: Shop, late: LateTransaction) -> Changes:
    with play.steps.step("Change the shop") as progress:
        progress("new orders, changed orders")
        changes = shop.add_orders(200)
        changes += shop.change_orders(first=1_000, orders=300)
        changes += shop.change_orders(first=2_000, orders=100, what="items")
        progress("the late commit")
        changes += late.commit()
    play.tell(
        f"{len(changes.inserted):,} orders added, {len(changes.updated):,} changed; of these "
        f"{len(late.changes.inserted):,} and {len(late.changes.updated):,} by the transaction that was open before"
    )
    return changes


def complaints_about(
    first: RunRecord, second: RunRecord, orders: int, changes: Changes, comparison: Comparison
) -> list[str]:
    """Name what is not as the shop's changes ask for; nothing where all is right."""
    complaints = [f"first load: {text}" for text in first.surprises(Changes(frozenset(range(orders))))]
    complaints += [f"second run: {text}" for text in second.surprises(changes)]
    return complaints + comparison.complaints()


def compare_orders(shop: str, warehouse: str) -> Comparison:
    """Compare what the orders DAG reads with the table that it writes.

    :param shop: conninfo of the source.
    :param warehouse: conninfo of the destination.
    """
    return compare(
        shop,
        warehouse,
        source_query=(packaged_dags() / "sql" / "orders.sql").read_text(),
        destination_table=FACT_TABLE,
        key="order_id",
        leave_out="synced_at",
    )

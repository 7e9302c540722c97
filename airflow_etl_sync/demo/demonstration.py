"""The story: a first load, a busy shop, a second run that moves only what changed, and the proof."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_etl_sync.demo.airflow import USERNAME, Airflow, packaged_dags
from airflow_etl_sync.demo.api import RunFailedError
from airflow_etl_sync.demo.comparison import Comparison, compare
from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from airflow_etl_sync.demo.report import RunRecord, read_run, table_of
from airflow_etl_sync.demo.shop import Changes, Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_etl_sync.demo.api import AirflowApi
    from airflow_etl_sync.demo.shop import LateTransaction
    from airflow_etl_sync.demo.steps import Steps

ORDERS_DAG = "orders_hourly"
USERS_DAG = "users_every_15_minutes"
FACT_TABLE = ("public", "fact_orders")
TRIGGER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    """The directories and databases that the story plays in."""

    home: Path
    metadata: str
    shop: str
    warehouse: str

    def airflow(self, *, has_schedules: bool) -> Airflow:
        """Return Airflow with the packaged DAGs, not started yet."""
        return Airflow(
            home=self.home,
            dags=packaged_dags(),
            metadata=self.metadata,
            connections={"shop_db": self.shop, "warehouse": self.warehouse},
            has_schedules=has_schedules,
        )


def run_demonstration(steps: Steps, *, orders: int, stays: bool) -> bool:
    """Play the whole story and tell whether source and warehouse agree.

    :param orders: how many the shop begins with.
    :param stays: whether Airflow is left running afterwards, until ``KeyboardInterrupt``.
    """
    with _stage(steps) as stage:
        is_right = _two_runs(steps, stage, orders)
        if is_right and stays:
            _stay(steps, stage)
        return is_right


@contextmanager
def _stage(steps: Steps) -> Iterator[Stage]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="etl-sync-demo-")))
        with steps.step("Start PostgreSQL"):
            postgres = stack.enter_context(EmbeddedPostgres())
            metadata, shop, warehouse = map(postgres.create_database, ("airflow", "shop", "warehouse"))
        yield Stage(home, metadata, shop, warehouse)


def _two_runs(steps: Steps, stage: Stage, orders: int) -> bool:
    shop = Shop(stage.shop)
    # Schedules are off: a run that the clock starts between two steps would take its share of the counts.
    with stage.airflow(has_schedules=False) as airflow:
        with steps.step(f"Fill the shop with {orders:,} orders while Airflow starts"):
            shop.create(orders)
        with steps.step("Start Airflow") as progress:
            api = airflow.wait_until_healthy(progress)
            api.unpause(ORDERS_DAG)
        with shop.late_transaction(first=0, orders=20) as late:
            # Later than the open transaction: whoever goes by the largest updated_at has now passed its rows.
            shop.change_orders(first=20, orders=10)
            first = _run(steps, airflow, api, stage, "First load, while a transaction of the shop stays open")
            changes = _busy_day(steps, shop, late)
        second = _run(steps, airflow, api, stage, "Second run")
    steps.console.print(table_of(first, second))
    steps.console.print(f"Protection of the window: {second.protection}", highlight=False, soft_wrap=True)
    return _judge(steps, stage, first, second, orders, changes)


def _busy_day(steps: Steps, shop: Shop, late: LateTransaction) -> Changes:
    with steps.step("Change the shop") as progress:
        progress("new orders, changed orders")
        changes = shop.add_orders(200)
        changes += shop.change_orders(first=1_000, orders=300)
        changes += shop.change_orders(first=2_000, orders=100, what="items")
        progress("the late commit")
        changes += late.commit()
    steps.console.print(
        f"             {len(changes.inserted):,} orders added, {len(changes.updated):,} changed; of these "
        f"{len(late.changes.inserted):,} and {len(late.changes.updated):,} by the transaction that was open before",
        highlight=False,
        soft_wrap=True,
    )
    return changes


def _run(steps: Steps, airflow: Airflow, api: AirflowApi, stage: Stage, title: str) -> RunRecord:
    with steps.step(f"{title} (DAG {ORDERS_DAG})") as progress:
        run_id = api.trigger(ORDERS_DAG)
        try:
            api.wait_for_run(ORDERS_DAG, run_id, progress)
        except RunFailedError:
            steps.console.print(
                airflow.task_log_tail(ORDERS_DAG, run_id), style="red", markup=False, highlight=False, soft_wrap=True
            )
            raise
    return read_run(stage.warehouse, run_id)


def _judge(steps: Steps, stage: Stage, first: RunRecord, second: RunRecord, orders: int, changes: Changes) -> bool:
    with steps.step("Compare source and warehouse row by row"):
        comparison = compare_orders(stage.shop, stage.warehouse)
    complaints = _complaints(first, second, orders, changes, comparison)
    for complaint in complaints:
        steps.console.print(f"[red]wrong[/] {complaint}", highlight=False, soft_wrap=True)
    if not complaints:
        steps.console.print(
            f"[green]right[/] {comparison.source_rows:,} rows, the same on both sides; the second run moved the "
            f"{len(changes.inserted) + len(changes.updated):,} that changed and no others. "
            f"All in all {steps.seconds:.0f} s.",
            highlight=False,
            soft_wrap=True,
        )
    return not complaints


def _complaints(
    first: RunRecord, second: RunRecord, orders: int, changes: Changes, comparison: Comparison
) -> list[str]:
    complaints = [f"first load: {text}" for text in first.surprises(Changes(frozenset(range(orders))))]
    complaints += [f"second run: {text}" for text in second.surprises(changes)]
    complaints += [str(difference) for difference in comparison.differences]
    untold = comparison.difference_count - len(comparison.differences)
    return complaints + ([f"and {untold:,} more rows differ"] if untold else [])


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


def _stay(steps: Steps, stage: Stage) -> None:
    """Run Airflow with its schedules and change the shop now and then, until interrupted."""
    shop = Shop(stage.shop)
    with stage.airflow(has_schedules=True) as airflow:
        with steps.step("Start Airflow again, now with its schedules") as progress:
            api = airflow.wait_until_healthy(progress)
            api.unpause(USERS_DAG)
        steps.console.rule()
        steps.console.print(f"Airflow: [bold]{airflow.address}[/]  user {USERNAME}  password {airflow.password}")
        steps.console.print(f"Warehouse: {stage.warehouse}", highlight=False, soft_wrap=True)
        steps.console.print("The shop changes every two seconds, the orders are synced every minute. Ctrl-C stops all.")
        with shop.steady_changes(), steps.console.status("running") as status:
            _trigger_for_ever(airflow, status.update)


def _trigger_for_ever(airflow: Airflow, progress: Callable[[str], None]) -> None:
    runs = 0
    while True:
        api = airflow.wait_until_healthy(progress)
        api.trigger(ORDERS_DAG)
        runs += 1
        progress(f"running, {runs:,} syncs of the orders triggered")
        time.sleep(TRIGGER_SECONDS)

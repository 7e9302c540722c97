"""The story: a table kept in step by its cursor, tables kept in step by the source's log, and the proofs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_etl_sync.demo.airflow import USERNAME
from airflow_etl_sync.demo.capture import CDC_DAG, capture_twice, tear_down
from airflow_etl_sync.demo.incremental import ORDERS_DAG, sync_twice
from airflow_etl_sync.demo.shop import Shop
from airflow_etl_sync.demo.stage import Play, prepared_stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_etl_sync.demo.airflow import Airflow
    from airflow_etl_sync.demo.stage import Stage
    from airflow_etl_sync.demo.steps import Steps

USERS_DAG = "users_every_15_minutes"
TRIGGER_SECONDS = 60.0


def run_demonstration(steps: Steps, *, orders: int, stays: bool) -> bool:
    """Play the whole story and tell whether source and warehouse agree.

    :param orders: how many the shop begins with.
    :param stays: whether Airflow is left running afterwards, until ``KeyboardInterrupt``.
    """
    with prepared_stage(steps) as stage:
        is_right = _play(steps, stage, orders, stays=stays)
        steps.console.print(f"All in all {steps.seconds:.0f} s.", highlight=False)
        if is_right and stays:
            _stay(steps, stage)
        return is_right


def _play(steps: Steps, stage: Stage, orders: int, *, stays: bool) -> bool:
    shop = Shop(stage.shop)
    # Schedules are off: a run that the clock starts between two steps would take its share of the counts.
    with stage.airflow(has_schedules=False) as airflow:
        with steps.step(f"Fill the shop with {orders:,} orders while Airflow starts"):
            shop.create(orders)
        with steps.step("Start Airflow") as progress:
            api = airflow.wait_until_healthy(progress)
            api.unpause(ORDERS_DAG)
            api.unpause(CDC_DAG)
        play = Play(steps, stage, airflow, api)
        is_synced = sync_twice(play, shop, orders)
        steps.console.rule("Change data capture")
        is_captured = capture_twice(play, shop)
        is_torn_down = stays or tear_down(play)
    return is_synced and is_captured and is_torn_down


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
        steps.console.print(
            "The shop changes every two seconds: orders come, change, go and get other numbers. They are synced and "
            "captured every minute, and by their schedules. Ctrl-C stops all.",
            highlight=False,
            soft_wrap=True,
        )
        with shop.steady_changes(), steps.console.status("running") as status:
            _trigger_for_ever(airflow, status.update)


def _trigger_for_ever(airflow: Airflow, progress: Callable[[str], None]) -> None:
    rounds = 0
    while True:
        api = airflow.wait_until_healthy(progress)
        api.trigger(ORDERS_DAG)
        api.trigger(CDC_DAG)
        rounds += 1
        progress(f"running, {rounds:,} syncs and captures of the orders triggered")
        time.sleep(TRIGGER_SECONDS)

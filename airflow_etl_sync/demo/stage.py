"""Where the story plays: databases, Airflow, and how a DAG is run there."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_etl_sync.demo.airflow import Airflow, as_connection, packaged_dags
from airflow_etl_sync.demo.api import RunFailedError
from airflow_etl_sync.demo.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_etl_sync.demo.api import AirflowApi
    from airflow_etl_sync.demo.steps import Steps

SLOT = "etl_sync_demo"
CAPTURED = {"users": "users_live", "orders": "orders_live", "products": "products", "carts": "carts"}
"""The tables whose changes are captured, and their copies."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The directories and databases that the story plays in."""

    home: Path
    metadata: str
    shop: str
    warehouse: str

    def airflow(self, *, has_schedules: bool) -> Airflow:
        """Return Airflow with the packaged DAGs, not started yet."""
        captured = {"slot": SLOT, "tables": ", ".join(f"public.{table}" for table in CAPTURED)}
        return Airflow(
            home=self.home,
            dags=packaged_dags(),
            metadata=self.metadata,
            connections={
                "shop_db": as_connection(self.shop),
                "shop_cdc": as_connection(self.shop, conn_type="postgres_cdc", extra=captured),
                "warehouse": as_connection(self.warehouse),
            },
            has_schedules=has_schedules,
        )


@contextmanager
def prepared_stage(steps: Steps) -> Iterator[Stage]:
    """Start PostgreSQL for the length of a block."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="etl-sync-demo-")))
        with steps.step("Start PostgreSQL"):
            postgres = stack.enter_context(EmbeddedPostgres())
            metadata, shop, warehouse = map(postgres.create_database, ("airflow", "shop", "warehouse"))
        yield Stage(home, metadata, shop, warehouse)


@dataclass(frozen=True, slots=True)
class Play:
    """The stage with Airflow running on it."""

    steps: Steps
    stage: Stage
    airflow: Airflow
    api: AirflowApi

    def run(self, dag_id: str, title: str) -> str:
        """Run a DAG as a step of the story and return the run's id.

        :raises RunFailedError: after the end of the task's log was shown
        """
        with self.steps.step(f"{title} (DAG {dag_id})") as progress:
            run_id = self.api.trigger(dag_id)
            try:
                self.api.wait_for_run(dag_id, run_id, progress)
            except RunFailedError:
                log = self.airflow.task_log_tail(dag_id, run_id)
                self.steps.console.print(log, style="red", markup=False, highlight=False, soft_wrap=True)
                raise
        return run_id

    def tell(self, text: str) -> None:
        """Print a line that belongs to the step before."""
        self.steps.console.print(f"             {text}", highlight=False, soft_wrap=True)

    def judge(self, complaints: list[str], praise: str) -> bool:
        """Print what is wrong, or else what is right, and tell whether nothing is wrong."""
        for complaint in complaints:
            self.steps.console.print(f"[red]wrong[/] {complaint}", highlight=False, soft_wrap=True)
        if not complaints:
            self.steps.console.print(f"[green]right[/] {praise}", highlight=False, soft_wrap=True)
        return not complaints

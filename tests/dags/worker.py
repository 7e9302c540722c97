"""One process with Airflow in it, which runs DAGs on request: importing Airflow takes longer than a run.

Every line of its input is a request in JSON, every line of its output the answer.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from airflow_etl_sync.systems.database import access as database_access
from airflow_etl_sync.systems.postgres import access


def main() -> None:
    """Answer requests until the input ends."""
    access.CONNECT_SECONDS, access.FIRST_WAIT_SECONDS = 0.2, 0.05  # nobody waits for a server that never comes
    database_access.CONNECT_SECONDS, database_access.FIRST_WAIT_SECONDS = 0.2, 0.05
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Airflow prints is not an answer
    for line in sys.stdin:
        answers.write(json.dumps(_run(json.loads(line))) + "\n")
        answers.flush()


def _load_dags() -> dict[str, Any]:
    """Read all DAGs afresh: a run in this process leaves its rendered values in them."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.2
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

    os.environ.pop("_AIRFLOW_PARSING_CONTEXT_DAG_ID", None)  # which a run may leave behind
    dags: dict[str, Any] = {}
    for folder in json.loads(os.environ["ETL_SYNC_TEST_FOLDERS"]):
        bag = DagBag(dag_folder=folder, bundle_path=Path(folder))
        if bag.import_errors:
            raise RuntimeError(str(bag.import_errors))
        dags |= bag.dags
    return dags


def _run(request: dict[str, Any]) -> dict[str, Any]:
    os.environ.update(request["environment"])
    run = _load_dags()[request["dag_id"]].test(run_conf=request["conf"])
    tasks = sorted(run.get_task_instances(), key=lambda task: (task.task_id, task.map_index))
    return {
        "run_id": run.run_id,
        "state": str(run.state),
        "tasks": [
            {
                "task_id": task.task_id,
                "map_index": task.map_index,
                "state": str(task.state),
                "try_number": task.try_number,
                "result": task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index),
            }
            for task in tasks
        ],
    }


if __name__ == "__main__":
    main()

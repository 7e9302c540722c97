"""This package within Airflow: ``dag.test()``, which runs the tasks of a DAG one after another in one process.

The seconds hold Airflow's own work around the tasks, not its import and start, nor the reading of the DAG file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    orders: dict[str, Any] = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Airflow prints is not an answer
    from airflow.dag_processing.dagbag import DagBag

    folder = Path(os.environ["ETL_SYNC_BENCHMARK_DAGS"])
    bag = DagBag(dag_folder=str(folder), bundle_path=folder)
    if bag.import_errors:
        raise RuntimeError(str(bag.import_errors))
    bag.dags["warm_up"].test()  # starts what Airflow keeps for the runs after it
    dag = bag.dags[orders["contestant"]]
    began = time.monotonic()
    run = dag.test(run_conf={"chunk_rows": orders["chunk_rows"]})
    seconds = time.monotonic() - began
    if str(run.state) != "success":
        raise RuntimeError(f"the run of {dag.dag_id} is {run.state}")
    with answers:
        json.dump({"seconds": seconds}, answers)


if __name__ == "__main__":
    main()

"""
One YAML file, many DAGs.

Teaches: **`dags_from_yaml`**. Each entry of `syncs.yaml` becomes a DAG: a chain, a sync in one task, a reconcile or a
capture of changes. An entry that is wrong becomes a DAG that fails with line and reason; the others go on.
"""

from pathlib import Path

from airflow_etl_sync import dags_from_yaml

dags_from_yaml(Path(__file__).with_name("syncs.yaml"))

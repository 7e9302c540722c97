"""The DAGs of a YAML file of which one entry is wrong."""

from __future__ import annotations

from pathlib import Path

from airflow_etl_sync import dags_from_yaml

dags_from_yaml(Path(__file__).with_name("declared.yaml"))

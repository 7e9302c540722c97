"""
An import error in the UI for the entries of `syncs.yaml` that are wrong.

Teaches: **`refuse_invalid_syncs`**. Airflow keeps import errors by file and hides every DAG of such a file, so this
file makes none: the DAGs of the entries that are right come from `sync_factory.py` and stay.
"""

from pathlib import Path

from airflow_etl_sync import refuse_invalid_syncs

refuse_invalid_syncs(Path(__file__).with_name("syncs.yaml"))

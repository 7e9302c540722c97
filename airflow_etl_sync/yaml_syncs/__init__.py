"""One YAML file, many DAGs: read it, check it entry by entry, and make a DAG of each.

Why an entry that is wrong becomes a DAG too: Airflow keeps import errors by file, and marks every DAG of that file
as stale with them (``airflow.dag_processing.collection``), also where the error belongs to one DAG alone and the
others were bagged. A warning (``DagWarning``) is of a closed list of kinds, none for authors. So the entry's DAG keeps
its id and its schedule and fails with the sentence, which nobody can overlook who looks after failures; and a file
that makes no DAG of its own, and calls :func:`~airflow_etl_sync.yaml_syncs.factory.refuse_invalid_syncs`, gives the
import error, which then hides nothing.
"""

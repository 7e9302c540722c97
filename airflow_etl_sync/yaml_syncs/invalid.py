"""What stands in for a sync that is wrong: a DAG of its id that fails with the reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import BaseOperator

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.yaml_syncs.building import TAG, new_dag
from airflow_etl_sync.yaml_syncs.checking import DeclaredSync

if TYPE_CHECKING:
    from airflow.sdk import DAG, Context

INVALID_TAG = "etl-sync-invalid"


class InvalidSyncOperator(BaseOperator):
    """Fail with what is wrong with a sync of a YAML file.

    :param reason: file, line and sentence, one a line
    """

    ui_color = "#f2b5b5"

    def __init__(self, *, reason: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def execute(self, context: Context) -> None:  # noqa: ARG002 - Airflow's signature
        """Fail, and do not try again.

        :raises AirflowFailException: always
        """
        raise AirflowFailException(self.reason)


def invalid_dag(sync: DeclaredSync, folder: Path, reasons: Sequence[str]) -> DAG:
    """Make the DAG that stands in for a sync: with its id, and with its schedule where that is sound.

    It keeps the schedule because a sync that stops in silence is noticed late: its runs fail, and whoever is told of
    failures is told of it.

    :param reasons: what is wrong, with file and line
    """
    reason = "\n".join(reasons)
    told = {
        "dag_display_name": f"{sync.name} (invalid: see its docs)",
        "description": reasons[0][:200],
        "doc_md": "**This sync is not run**, because the file that declares it is wrong:\n\n"
        + "".join(f"* {line}\n" for line in reasons),
        "params": {},
        "tags": [TAG, INVALID_TAG],
    }
    sync = replace(sync, name=_dag_id(sync.name))
    try:
        dag = new_dag(sync, folder, **told)
    except (ConfigurationError, AttributeError, TypeError):  # its schedule or its dates are what is wrong
        dag = new_dag(replace(sync, terms={}), folder, **told)
    with dag:
        InvalidSyncOperator(task_id="invalid_sync", reason=reason)
    return dag


def _dag_id(name: str) -> str:
    """The sync's name, or where no DAG can have it, one like it."""
    plain = re.sub(r"[^\w.-]", "_", name)[:250] or "_"
    return plain if plain == name else f"{plain[:240]}_invalid"

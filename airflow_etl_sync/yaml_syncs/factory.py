"""The two calls that DAG files make: the DAGs of a YAML file, and the import error of those that are wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import get_parsing_context
from airflow.sdk import DAG

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.yaml_syncs.building import build
from airflow_etl_sync.yaml_syncs.checking import DeclaredSync, check
from airflow_etl_sync.yaml_syncs.invalid import invalid_dag
from airflow_etl_sync.yaml_syncs.reading import Problem, located, read

if TYPE_CHECKING:
    from os import PathLike

log = logging.getLogger(__name__)


def dags_from_yaml(path: str | PathLike[str]) -> dict[str, DAG]:
    """Make a DAG of each sync in a YAML file, for the DAG file that calls it.

    The file has ``defaults`` and ``syncs``, see ``dags/syncs.yaml``; its JSON schema is ``syncs.schema.json`` beside
    this module. The name of a sync is the id of its DAG. A sync that is wrong becomes a DAG of the same id, tagged
    ``etl-sync-invalid``, whose runs fail with line and reason; the others are not touched by it.

    In a task's own process only the DAG of that task is made.

    :param path: the file, by a full path such as ``Path(__file__).with_name("syncs.yaml")``
    :returns: the DAGs by id; Airflow has found them already
    :raises ConfigurationError: where the file cannot be read as a whole, with file and line
    """
    file, made = Path(path), {}
    wanted = get_parsing_context().dag_id
    for sync in check(read(file)):
        dag = _dag(sync, file) if wanted in (None, sync.name) else None
        if dag is not None:
            made[dag.dag_id] = dag
            _register(dag)
    return made


def refuse_invalid_syncs(path: str | PathLike[str]) -> None:
    """Let the import of a file fail where a YAML file has syncs that are wrong, to have an import error in the UI.

    It is for a file that makes no DAG: Airflow hides all DAGs of a file that has an import error.

    :param path: as for :func:`dags_from_yaml`
    :raises ConfigurationError: with a line for each sync that is wrong, its place and the reason
    """
    file = Path(path)
    found = [line for sync in check(read(file)) for line in _built(sync, file)[1]]
    if found:
        raise ConfigurationError("\n".join(found))


def _dag(sync: DeclaredSync, file: Path) -> DAG:
    dag, problems = _built(sync, file)
    if dag is not None:
        return dag
    for line in problems:
        log.error("%s", line)
    return invalid_dag(sync, file.parent, problems)


def _built(sync: DeclaredSync, file: Path) -> tuple[DAG | None, list[str]]:
    """The sync's DAG, or what is wrong with the sync."""
    problems = sync.problems
    try:
        dag = None if problems else build(sync, file.parent)
    except ConfigurationError as error:
        dag, problems = None, (Problem(sync.line_told_by(str(error)), str(error)),)
    return dag, [located(file, Problem(each.line, f"sync {sync.name!r}: {each.sentence}")) for each in problems]


def _register(dag: DAG) -> None:
    """Let Airflow find the DAG without a name for it in the DAG file."""
    dag.auto_register = True
    registered: Any = dag
    with registered:
        pass

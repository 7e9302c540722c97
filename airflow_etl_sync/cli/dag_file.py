"""The text of a DAG file with one sync."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TEXT = '''"""{title}"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from airflow_etl_sync import incremental_sync

with DAG(
    dag_id={dag_id},
    doc_md=__doc__,
    schedule={schedule},
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["etl-sync"],
):
    incremental_sync(
        group_id="sync",
{arguments}
    )
'''


def dag_file(dag_id: str, schedule: str, terms: Mapping[str, Any]) -> str:
    """A DAG file as an author would write it.

    :param terms: the arguments of the sync: texts, or lists of them
    """
    arguments = "\n".join(f"        {name}={_literal(value)}," for name, value in terms.items())
    title = f"Keeps a copy of {terms['table']} in step.".replace("\\", "\\\\").replace('"', "'")
    return _TEXT.format(title=title, dag_id=_literal(dag_id), schedule=_literal(schedule), arguments=arguments)


def _literal(value: Any) -> str:
    """JSON's texts and lists are Python's too."""
    return json.dumps(value, ensure_ascii=False)

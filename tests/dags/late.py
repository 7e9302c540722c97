"""Make a run of a DAG that has missed its deadline, and do what scheduler and triggerer do about it.

Said on the command line: the DAG's file, whose name is its id. Said on standard output: the callbacks' states.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.deadline import Deadline
from airflow.models.serialized_dag import SerializedDagModel
from airflow.triggers.callback import CallbackTrigger
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select


def main(path: str) -> None:
    """Let one run miss its deadline by half an hour, while another still has time."""
    file = Path(path)
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    sync_bag_to_db(DagBag(dag_folder=file, bundle_path=file.parent), file.parent.name, None)
    now = datetime.now(timezone.utc)
    with create_session() as session:
        dag = SerializedDagModel.get_dag(file.stem, session=session)
        assert dag is not None
        for due in (now - timedelta(hours=1), now):
            dag.create_dagrun(
                run_id=f"scheduled__{due.isoformat()}", logical_date=due, data_interval=(due, due), run_after=due,
                run_type=DagRunType.SCHEDULED, triggered_by=DagRunTriggeredByType.TEST, state=DagRunState.RUNNING,
                session=session,
            )  # fmt: skip
        session.flush()
        states = []
        for deadline in session.scalars(select(Deadline).where(Deadline.deadline_time < now, ~Deadline.missed)):
            deadline.handle_miss(session)
            states += asyncio.run(_call(deadline.callback.data))
    sys.stdout.write("RESULT" + json.dumps(states))


async def _call(data: dict[str, Any]) -> list[str]:
    trigger = CallbackTrigger(data["path"], dict(data["kwargs"]))
    return [str(event.payload["state"]) async for event in trigger.run()]


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What every task does with the outcome of its run, once that is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_etl_sync.observability.assets import tell_assets
from airflow_etl_sync.observability.metrics import emit

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_etl_sync.observability.outcome import Outcome

CONTEXT_NAME = "etl_sync"


def tell(context: Context, outcome: Outcome) -> None:
    """Let Airflow's metrics know, the assets of the tables that were loaded, and the task's callbacks.

    Those find the outcome as ``etl_sync`` in their context, and so in the templates of Airflow's notifiers.
    """
    context[CONTEXT_NAME] = outcome  # type: ignore[literal-required]
    emit(outcome)
    tell_assets(context, outcome)

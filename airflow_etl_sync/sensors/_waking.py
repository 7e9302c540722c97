"""What both sensors are: a trigger waited for."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_etl_sync.triggers._waking import WakingTrigger


class WakingSensor(BaseSensorOperator):
    """Wait in the triggerer for the first event of a trigger, holding no worker."""

    ui_color = "#e6f1f2"

    @abstractmethod
    def trigger(self) -> WakingTrigger:
        """Give what is waited for.

        :raises ConfigurationError: where an argument is wrong
        """

    def execute(self, context: Context) -> None:  # noqa: ARG002
        """Go to the triggerer.

        :raises AirflowFailException: where an argument is wrong
        """
        with failing_for_good():
            trigger = self.trigger()
            trigger.checked()
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=self.timeout))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Give the event: why the task was woken."""
        return event

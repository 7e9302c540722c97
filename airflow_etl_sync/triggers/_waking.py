"""What both triggers are: a watch, kept for as long as Airflow keeps the trigger."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow_etl_sync.cdc.postgres.waking import Waking, Watch


class WakingTrigger(BaseEventTrigger):
    """Fire an event for each wake of a watch on one connection.

    In an asset watcher it never ends, since Airflow would start it again every second: it logs what is wrong and tries
    again once a minute. Deferred by a task, it fails the task with an error that does not pass with time.

    An event says who was woken and why, and holds no data.
    """

    def __init__(self, conn_id: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self._waking: Waking | None = None

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Give the arguments that make this trigger again."""

    @abstractmethod
    def checked(self) -> dict[str, Any]:
        """Give what the watch is made of.

        :raises ConfigurationError: where an argument is wrong
        """

    @abstractmethod
    def subject(self) -> dict[str, Any]:
        """Give what every event says it is about."""

    @abstractmethod
    def watch(self) -> Watch:
        """Give what is waited for."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give class and arguments, always in the same order: Airflow tells triggers apart by this.

        :raises ConfigurationError: where an argument is wrong. Here the author of the DAG sees it; raised when the
            trigger is made, it would stop the triggerer.
        """
        kind = type(self)
        self.checked()
        return f"{kind.__module__}.{kind.__qualname__}", self.arguments()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire again and again; this never ends by itself."""
        from airflow_etl_sync.cdc.postgres.waking import Waking

        self._waking = Waking(self._connect, self.watch(), gives_up=self.task_instance is not None)
        async with aclosing(self._waking.wakes()) as wakes:
            async for wake in wakes:
                yield TriggerEvent({**asdict(wake), **self.subject()})  # type: ignore[no-untyped-call]

    async def cleanup(self) -> None:
        """Close the connection also where Airflow drops the trigger between two events."""
        if self._waking is not None:
            await self._waking.close()

    async def _connect(self) -> Any:
        from airflow_etl_sync.hooks.connections import postgres_access_async

        return await (await postgres_access_async(self.conn_id)).connect_async()

"""The way into a dataset of BigQuery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_etl_sync.systems.bigquery.session import PATIENCE_SECONDS, Session

if TYPE_CHECKING:
    from google.auth.credentials import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class BigQueryAccess:
    """What jobs are sent with.

    :param project: whose tables they are, and who pays
    :param dataset: where tables without a schema lie
    :param location: of the dataset; None lets BigQuery find it
    :param endpoint: another server than Google's
    """

    project: str
    credentials: Credentials = field(repr=False)
    dataset: str | None = None
    location: str | None = None
    endpoint: str | None = None
    patience_seconds: float = PATIENCE_SECONDS

    @property
    def place(self) -> str:
        """Where tables lie, without login."""
        return f"bigquery://{'/'.join(filter(None, [self.project, self.dataset]))}"

    @contextmanager
    def open(self) -> Iterator[Session]:
        """What jobs run through; nothing is left open in the end."""
        from google.cloud.bigquery import Client

        options = {"api_endpoint": self.endpoint} if self.endpoint else None
        client = Client(self.project, self.credentials, location=self.location, client_options=options)
        try:
            yield Session(client, self.patience_seconds)
        finally:
            client.close()  # type: ignore[no-untyped-call]

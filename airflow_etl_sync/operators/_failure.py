"""Whether Airflow tries again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_etl_sync.errors import EtlSyncError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Fail the task at once for errors that another try cannot mend; let the others have their retries.

    This holds on every Airflow, with or without an author's ``retry_policy`` (3.3 and later): Airflow asks a policy
    about the errors that are raised as they are, a SourceError or a DestinationError, and never about these.

    :raises AirflowFailException: with the error's own sentence
    """
    try:
        yield
    except EtlSyncError as error:
        if error.is_retryable:
            raise
        raise AirflowFailException(str(error)) from error

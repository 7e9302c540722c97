"""Every error this package raises, named for who can mend it.

EtlSyncError
├── ConfigurationError   the author of the DAG or of the connection
├── SchemaError          the owner of the tables
├── DataError            the owner of the rows
├── SourceError          the source: unreachable, restarted, cancelled
├── DestinationError     the destination: the same
└── StateError           the state tables: another run moved the watermark, chunks are gone
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow_etl_sync.faults import Fault, fault_of


class EtlSyncError(Exception):
    """The base of all errors of this package: one sentence of what happened, one of what to do.

    :param message: what happened and what to do, without row values and without secrets
    :param is_retryable: whether the same call may succeed when it is made again unchanged
    :param sqlstate: the five-character code of the database, where it gave one
    """

    retryable_by_default = False

    def __init__(self, message: str, *, is_retryable: bool | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.is_retryable = self.retryable_by_default if is_retryable is None else is_retryable
        self.sqlstate = sqlstate


class ConfigurationError(EtlSyncError):
    """An argument, a connection or a privilege is wrong; trying again does not help."""


class SchemaError(EtlSyncError):
    """Tables or columns do not fit each other; trying again does not help."""


class DataError(EtlSyncError):
    """A row cannot be loaded as it is; trying again does not help."""


class SourceError(EtlSyncError):
    """The source did not answer or broke off; trying again may help."""

    retryable_by_default = True


class DestinationError(EtlSyncError):
    """The destination did not answer or broke off; trying again may help."""

    retryable_by_default = True


class StateError(EtlSyncError):
    """The recorded state does not allow this step; the message says what to clear."""


@contextmanager
def explaining(
    kind: type[SourceError | DestinationError],
    doing: str,
    judge: Callable[[BaseException], Fault | None] = fault_of,
) -> Iterator[None]:
    """Turn a driver's error inside the block into one of this package's, see :mod:`airflow_etl_sync.faults`.

    The driver's error is left out of the new one's context: it may quote a row.

    :param kind: the error for faults that pass with time
    :param doing: what was being done, to start the sentence with ("read the stream 'orders'")
    :param judge: what an error means, by default one of PostgreSQL
    """
    try:
        yield
    except EtlSyncError:
        raise
    except Exception as error:
        fault = judge(error)
        if fault is None:
            raise
        explained = _explained(kind, f"Could not {doing}", fault)
        try:
            raise explained from None
        finally:
            explained.__context__ = None


def _explained(kind: type[SourceError | DestinationError], what: str, fault: Fault) -> EtlSyncError:
    sqlstate, message = fault.sqlstate, f"{what}: {fault.text}"
    if fault.blame == "row":
        return DataError(
            f"SQLSTATE {sqlstate or 'none'}: {what}; a row breaks a rule of its table or of a trigger, "
            "see the server's log for which",
            sqlstate=sqlstate,
        )
    if fault.blame == "schema":
        return SchemaError(message, sqlstate=sqlstate)
    if fault.blame == "time":
        return kind(message, sqlstate=sqlstate)
    return ConfigurationError(f"{message} (trying again does not help)", sqlstate=sqlstate)

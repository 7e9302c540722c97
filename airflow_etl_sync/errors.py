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

from collections.abc import Iterator
from contextlib import contextmanager


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


_ROW_AT_FAULT = ("22", "23")
_TRY_AGAIN = ("08", "40", "53", "55", "57", "58")
_SCHEMA_AT_FAULT = ("42P01", "42703", "42804", "42846", "3F000", "42P10")


@contextmanager
def explaining(kind: type[SourceError | DestinationError], doing: str) -> Iterator[None]:
    """Turn a driver's error inside the block into one of this package's, by its SQLSTATE.

    Classes 22 and 23 are the row's fault, 08, 40, 53, 55, 57 and 58 pass with time, everything else
    needs a person (`PostgreSQL manual, appendix A <https://www.postgresql.org/docs/current/errcodes-appendix.html>`__).
    Only the server's primary message is kept: its detail lines can hold row values.

    :param kind: the error for faults that pass with time
    :param doing: what was being done, to start the sentence with ("read the stream 'orders'")
    """
    try:
        yield
    except EtlSyncError:
        raise
    except Exception as error:
        sqlstate = sqlstate_of(error)
        if sqlstate is None and not _is_driver_error(error):
            raise
        # the driver's own message may quote a row, so it is not chained into the traceback
        raise _classified(kind, f"Could not {doing}: {_first_line(error)}", sqlstate, error) from None


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE an error of psycopg, SQLAlchemy or ADBC carries, else None."""
    origin = getattr(error, "orig", None) or error
    return getattr(origin, "sqlstate", None) or None


def is_row_at_fault(error: BaseException) -> bool:
    """Whether a row is to blame, so that the others can be loaded without it."""
    return (sqlstate_of(error) or "").startswith(_ROW_AT_FAULT) or _is_refused_value(error)


def _is_driver_error(error: BaseException) -> bool:
    return any(base.__name__ in {"DatabaseError", "SQLAlchemyError"} for base in type(error).__mro__)


def _classified(
    kind: type[SourceError | DestinationError], message: str, sqlstate: str | None, error: BaseException
) -> EtlSyncError:
    code = sqlstate or ""
    if code.startswith(_ROW_AT_FAULT):
        return DataError(
            f"SQLSTATE {code}: {message.partition(':')[0]}; a row breaks a rule of its table, "
            "see the server's log for which",
            sqlstate=sqlstate,
        )
    if code in _SCHEMA_AT_FAULT:
        return SchemaError(message, sqlstate=sqlstate)
    if code.startswith(_TRY_AGAIN) or (not code and not _is_wrong_login(error) and not _is_refused_value(error)):
        return kind(message, sqlstate=sqlstate)
    return ConfigurationError(f"{message} (trying again does not help)", sqlstate=sqlstate)


def _is_refused_value(error: BaseException) -> bool:
    """The driver itself refuses a value, such as text with NUL, before it asks the server."""
    return any(base.__name__ == "DataError" for base in type(getattr(error, "orig", None) or error).__mro__)


def _is_wrong_login(error: BaseException) -> bool:
    """Libpq gives no SQLSTATE for a refused login, only the server's text."""
    text = str(error)
    return (
        "authentication failed" in text
        or ("database" in text and "does not exist" in text)
        or ("role" in text and "does not exist" in text)
    )


def _first_line(error: BaseException) -> str:
    origin = getattr(error, "orig", None) or error
    diagnosis = getattr(origin, "diag", None)
    primary = getattr(diagnosis, "message_primary", None)
    text = (primary or str(origin)).strip()
    return text.splitlines()[0] if text else type(origin).__name__

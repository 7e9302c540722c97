"""What an error of a driver means, and what of it is shown."""

from __future__ import annotations

import psycopg
import psycopg.errors as pg
import pytest
from adbc_driver_manager import DataError as AdbcDataError
from adbc_driver_manager import OperationalError as AdbcOperationalError
from sqlalchemy.exc import DBAPIError, StatementError

from airflow_etl_sync.errors import (
    ConfigurationError,
    DataError,
    DestinationError,
    EtlSyncError,
    SourceError,
    explaining,
)
from airflow_etl_sync.faults import Blame, fault_of, not_ready

SECRET = "row value"


def adbc(sqlstate: str | None, context: str | None = None) -> AdbcOperationalError:
    details = [("PG_DIAG_MESSAGE_PRIMARY", SECRET.encode())]
    if context:
        details.append(("PG_DIAG_CONTEXT", context.encode()))
    return AdbcOperationalError(f"[libpq] {SECRET}", status_code=10, sqlstate=sqlstate, details=details)


@pytest.mark.parametrize(
    ("sqlstate", "blame", "is_shown"),
    [
        ("42P01", "schema", True),
        ("42501", "person", True),
        ("0A000", "person", True),
        ("57014", "time", True),
        ("40P01", "time", True),
        ("25P03", "time", True),
        ("25P04", "time", True),
        ("25006", "person", True),
        ("22P02", "row", False),
        ("23505", "row", False),
        ("44000", "row", False),
        ("P0001", "row", False),
        ("P0002", "row", False),
        ("P0004", "row", False),
        ("MY001", "row", False),
        ("45000", "row", False),
        ("42U01", "row", False),
        ("57U01", "time", False),
        ("38000", "person", False),
        ("39P01", "person", False),
        ("F0000", "person", False),
        ("HV000", "person", False),
        ("XX000", "person", False),
    ],
)
def test_the_code_decides(sqlstate: str, blame: Blame, is_shown: bool) -> None:
    fault = fault_of(adbc(sqlstate))
    assert fault is not None
    assert (fault.sqlstate, fault.blame) == (sqlstate, blame)
    assert (SECRET in fault.text) is is_shown
    assert is_shown or sqlstate in fault.text


@pytest.mark.parametrize(
    ("context", "is_shown"),
    [
        (None, True),
        ("COPY stage_1, line 84000", True),
        ('COPY stage_1, line 1, column v: "row value"', False),
        ("PL/pgSQL function f() line 1 at RAISE", False),
        ("PL/pgSQL-Funktion f() Zeile 1 bei RAISE", False),
        ('while updating tuple (0,1) in relation "t"', False),
        ("COPY stage_1, line 1\nPL/pgSQL function f() line 1 at RAISE", False),
    ],
)
@pytest.mark.parametrize("sqlstate", ["40001", "42601", "57014"])
def test_what_a_function_says_under_a_code_of_the_servers_is_not_shown(
    sqlstate: str, context: str | None, is_shown: bool
) -> None:
    fault = fault_of(adbc(sqlstate, context))
    assert fault is not None
    assert (SECRET in fault.text) is is_shown


def test_a_text_that_is_not_shown_gives_way_to_the_codes_own_name() -> None:
    fault = fault_of(adbc("40P01", "while updating tuple (0,1)"))
    assert fault is not None
    assert fault.text == "deadlock detected (SQLSTATE 40P01; the server's log says more)"


@pytest.mark.parametrize(
    ("error", "blame"),
    [
        (psycopg.DataError(SECRET), "row"),
        (psycopg.ProgrammingError(SECRET), "person"),
        (AdbcDataError(SECRET, status_code=8), "row"),
        (DBAPIError("SELECT 1", {}, psycopg.DataError(SECRET)), "row"),
        (StatementError(SECRET, "SELECT 1", {}, ValueError(SECRET)), "person"),
        (psycopg.InterfaceError(SECRET), "time"),
        (OSError(f"[libpq] Execution error: {SECRET}"), "time"),
    ],
)
def test_a_driver_that_refuses_a_value_does_not_show_it(error: Exception, blame: Blame) -> None:
    fault = fault_of(error)
    assert fault is not None
    assert fault.blame == blame
    assert SECRET not in fault.text


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), OSError("no space left"), ValueError("x"), KeyError("sqlstate")]
)
def test_other_errors_are_no_faults_of_a_database(error: Exception) -> None:
    assert fault_of(error) is None


@pytest.mark.parametrize(
    ("text", "is_tried_again"),
    [
        ('connection to server at "127.0.0.1", port 1 failed: Connection refused', True),
        ("connection failed: FATAL:  the database system is starting up", True),
        ("connection failed: FATAL:  the database system is shutting down", True),
        ("connection failed: FATAL:  the database system is in recovery mode", True),
        ("connection failed: FATAL:  the database system is not yet accepting connections", True),
        ("connection failed: FATAL:  sorry, too many clients already", True),
        ('connection failed: FATAL:  too many connections for role "etl"', True),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", True),
        ("server closed the connection unexpectedly", True),
        ("connection timeout expired", True),
        ("failed to resolve host 'db': [Errno -3] Temporary failure in name resolution", True),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", False),
        ('FATAL:  password authentication failed for user "etl"', False),
        ('Connection refused\nFATAL:  password authentication failed for user "etl"', False),
        ('FATAL:  Passwort-Authentifizierung für Benutzer "etl" fehlgeschlagen', False),
        ('FATAL:  database "shop" does not exist', False),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "etl", database "shop", no encryption', False),
    ],
)
def test_a_connection_is_tried_again_only_where_the_server_is_not_ready(text: str, is_tried_again: bool) -> None:
    assert (not_ready(psycopg.OperationalError(text)) is not None) is is_tried_again


def test_codes_of_a_server_that_is_not_ready() -> None:
    assert not_ready(pg.CannotConnectNow("x")) == "cannot connect now"
    assert not_ready(pg.TooManyConnections("x")) == "too many connections"
    assert not_ready(pg.InvalidPassword("connection refused: authentication failed")) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('role "etl" is not permitted to log in', ConfigurationError),
        ('permission denied for database "shop"', ConfigurationError),
        ("server does not support SSL, but SSL was required", ConfigurationError),
        ("the database system is starting up", SourceError),
    ],
)
def test_a_refused_login_fails_for_good(text: str, kind: type[EtlSyncError]) -> None:
    with pytest.raises(kind), explaining(SourceError, "read"):
        raise psycopg.OperationalError(text)


def test_the_drivers_error_is_gone_from_the_context() -> None:
    with pytest.raises(DataError) as caught, explaining(DestinationError, "load the rows"):
        raise pg.RaiseException(SECRET) from ValueError(SECRET)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None

"""What errors of other databases mean; those that are not known here are judged like PostgreSQL's.

MySQL and MariaDB tell by a number (`list <https://mariadb.com/kb/en/mariadb-error-codes/>`__). A text is shown only of
errors whose text names no more than logins, tables and columns.
"""

from __future__ import annotations

from airflow_etl_sync.faults import Blame, Fault, fault_of, sqlstate_of

_PERSON = (1044, 1045, 1046, 1049, 1142, 1143, 1227, 1698, 1227, 1250, 1370, 3118, 1820, 2026, 2054, 2059, 2061)
_SCHEMA = (1054, 1059, 1060, 1071, 1109, 1118, 1146, 1356)
_NOT_READY = {
    1040: "too many connections",
    1053: "shutting down",
    1203: "too many connections",
    2002: "connection refused",
    2003: "connection refused",
    2006: "connection lost",
    2013: "connection lost",
}
_TIME = (*_NOT_READY, 1158, 1159, 1160, 1161, 1205, 1213, 1317, 1412, 1615, 1927, 1969, 3024)
_ROW = (
    1048, 1062, 1138, 1169, 1216, 1217, 1263, 1264, 1265, 1292, 1364, 1366, 1367, 1406, 1411, 1416, 1451, 1452, 1526,
    1557, 1586, 1644, 1690, 1761, 3140, 3819, 4025,
)  # fmt: skip
_SPOKEN = (*_PERSON, *_SCHEMA, *_TIME)

_ROWS_ERRORS = ("IntegrityError", "DataError")
_SQLITE: tuple[tuple[str, Blame], ...] = (
    ("no such table", "schema"),
    ("no such column", "schema"),
    ("unable to open database file", "person"),
    ("file is not a database", "person"),
    ("syntax error", "person"),
    ("is locked", "time"),
    ("is busy", "time"),
    ("interrupted", "time"),
    ("disk I/O error", "time"),
)


def fault_in(error: BaseException) -> Fault | None:
    """What an error of a driver means, see :func:`~airflow_etl_sync.faults.fault_of`."""
    origin = getattr(error, "orig", None) or error
    driver = type(origin).__module__.partition(".")[0]
    if driver == "pymysql" and (number := _number(origin)):
        return Fault(None, _blame(number), _text(origin, number))
    if driver == "sqlite3":
        for known, blame in _SQLITE:
            if known in str(origin):
                return Fault(None, blame, str(origin).partition("\n")[0])
        is_row = type(origin).__name__ in _ROWS_ERRORS
        return Fault(None, "row" if is_row else "person", f"SQLite refuses it ({type(origin).__name__})")
    if type(origin).__name__ in _ROWS_ERRORS and not sqlstate_of(error):
        return Fault(None, "row", f"the database refuses it ({type(origin).__name__})")
    return fault_of(error)


def why_not_ready(error: BaseException) -> str | None:
    """Why a server could not be reached, in words, if another attempt soon may reach it; else None."""
    return _NOT_READY.get(_number(getattr(error, "orig", None) or error))


def syntax_error_in(error: BaseException) -> str | None:
    """What the database says of SQL that it cannot read; None for other errors. It quotes what stands there."""
    origin = getattr(error, "orig", None) or error
    return str(origin.args[1]).partition("\n")[0] if _number(origin) == 1064 else None


def _number(origin: BaseException) -> int:
    """The server's number of an error, 0 where it has none."""
    is_numbered = type(origin).__module__.startswith("pymysql") and origin.args
    return origin.args[0] if is_numbered and isinstance(origin.args[0], int) else 0


def _blame(number: int) -> Blame:
    if number in _TIME:
        return "time"
    if number in _ROW:
        return "row"
    return "schema" if number in _SCHEMA else "person"


def _text(origin: BaseException, number: int) -> str:
    if number in _SPOKEN and len(origin.args) > 1:
        return f"{str(origin.args[1]).partition(chr(10))[0]} (error {number})"
    return f"error {number} (the server's log, or its manual, says more)"

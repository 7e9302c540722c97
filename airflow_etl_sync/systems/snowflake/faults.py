"""What an error of Snowflake means; its text is shown nowhere, since it may quote a row, but for its numbers.

`SQLSTATE <https://docs.snowflake.com/en/developer-guide/snowflake-scripting/exceptions>`__ tells some apart, the number
of the error others. The history of queries has the rest, under the query's id.
"""

from __future__ import annotations

from airflow_etl_sync.faults import Blame, Fault, fault_of

ABSENT = (2003, 2043)
"""The numbers of what is not there, or may not be seen."""

_LOCKED = 625
_TIME_NUMBERS = (_LOCKED, 604, 630, 390114, 390189)  # a lock, a statement's time, a session that has ended
_TIME = ("08", "40", "53", "57")
_ROW = ("22", "23")
_BROKEN_OFF = (
    "BadGatewayError", "BindUploadError", "GatewayTimeoutError", "InterfaceError", "InternalError",
    "InternalServerError", "OperationalError", "OtherHTTPRetryableError", "RequestExceedMaxRetryError",
    "RequestTimeoutError", "ServiceUnavailableError", "TokenExpiredError", "TooManyRequests",
)  # fmt: skip
_LOGIN = 250001


def snowflake_fault_of(error: BaseException) -> Fault | None:
    """What an error means; one of PostgreSQL too, as the state tables are there."""
    kind = type(error)
    if not kind.__module__.startswith("snowflake."):
        return fault_of(error)
    number, sqlstate = _number(error), _sqlstate(error)
    query_id = getattr(error, "sfqid", None)
    query = f", query {query_id}" if query_id else ""
    return Fault(sqlstate, _blame(kind, number, sqlstate), f"Snowflake refuses it ({kind.__name__} {number}{query})")


def is_absent(error: BaseException) -> bool:
    """Whether a statement failed because a table is not there."""
    return _number(error) in ABSENT


def _blame(kind: type, number: int, sqlstate: str | None) -> Blame:
    if {base.__name__ for base in kind.__mro__} & set(_BROKEN_OFF) or number in _TIME_NUMBERS:
        return "time"
    if number in ABSENT:
        return "schema"
    if sqlstate is None or number == _LOGIN:  # a wrong login is told by the state of a lost connection
        return "person"
    if sqlstate.startswith(_ROW):
        return "row"
    return "time" if sqlstate.startswith(_TIME) else "person"


def _number(error: BaseException) -> int:
    number = getattr(error, "errno", None)
    return number if isinstance(number, int) else 0


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) and len(state) == 5 else None

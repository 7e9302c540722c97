"""What a database's error means: whose fault it is, whether it passes with time, and what of it may be shown.

The code decides (`PostgreSQL manual, appendix A <https://www.postgresql.org/docs/current/errcodes-appendix.html>`__).
A message's text is shown only where the server itself composes it, and only of classes whose texts name no
more than tables, columns and settings. Functions and triggers may put a row into theirs, under any code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Blame = Literal["row", "schema", "person", "time"]
"""Who mends it; ``time`` stands for what passes by itself."""

_ROW = ("22", "23", "44", "P0")
_TIME = ("08", "25P03", "25P04", "40", "53", "55", "57", "58")
_SCHEMA = ("42P01", "42703", "42804", "42846", "3F000", "42P10")
_SPOKEN = ("08", "0A", "21", "25", "26", "28", "2B", "34", "3B", "3D", "3F", "40", "42", "53", "54", "55", "57", "58")

_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|(database|role) \".*\" does not exist"
    r"|permission denied for database|is not permitted to log in|SSL was required|certificate verify failed"
)
_NOT_READY = re.compile(
    r"(?i:connection refused|timeout expired|connection reset|closed the connection unexpectedly)"
    r"|Network is unreachable|No route to host|Temporary failure in name resolution"
    r"|starting up|shutting down|in recovery mode|not yet accepting connections"
    r"|too many (clients|connections)|remaining connection slots"
)
_NOT_READY_CODES = ("57P03", "53300")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is known of an error.

    :param sqlstate: the five-character code, where the database gave one
    :param text: one line that holds no row values and no secrets
    """

    sqlstate: str | None
    blame: Blame
    text: str


def fault_of(error: BaseException) -> Fault | None:
    """What an error of psycopg, SQLAlchemy or ADBC means; None for other errors."""
    sqlstate = sqlstate_of(error)
    if sqlstate is not None:
        return Fault(sqlstate, _blame(sqlstate), _server_text(error, sqlstate))
    kinds = {base.__name__ for base in type(_origin(error)).__mro__}
    if "OperationalError" in kinds:
        return Fault(None, "person" if _REFUSED.search(str(error)) else "time", _first_line(str(_origin(error))))
    if kinds & {"InterfaceError", "InternalError"} or _is_broken_stream(error):
        return Fault(None, "time", f"the driver broke off ({type(_origin(error)).__name__})")
    if "DataError" in kinds:
        return Fault(None, "row", "the driver refuses a value, such as a text with NUL")
    if {base.__name__ for base in type(error).__mro__} & {"DatabaseError", "SQLAlchemyError"}:
        return Fault(None, "person", f"the driver refuses a statement ({type(_origin(error)).__name__})")
    return None


def is_row_at_fault(error: BaseException) -> bool:
    """Whether a row is to blame, so that the others can be loaded without it."""
    fault = fault_of(error)
    return fault is not None and fault.blame == "row"


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE an error of psycopg, SQLAlchemy or ADBC carries, else None."""
    return getattr(_origin(error), "sqlstate", None) or None


def not_ready(error: BaseException) -> str | None:
    """Why a connection could not be made, in words, if another attempt soon may make it; else None.

    Libpq gives no SQLSTATE for these, only texts, those of the server in its own language. What is not
    recognised is not tried again here, so that no wrong login is.
    """
    if sqlstate_of(error) in _NOT_READY_CODES:
        return _name(str(sqlstate_of(error)))
    found = _NOT_READY.search(str(error))
    return found.group() if found and not _REFUSED.search(str(error)) else None


def _origin(error: BaseException) -> BaseException:
    return getattr(error, "orig", None) or error


def _blame(sqlstate: str) -> Blame:
    if sqlstate.startswith(_TIME):
        return "time"
    if sqlstate in _SCHEMA:
        return "schema"
    return "row" if sqlstate.startswith(_ROW) or _name(sqlstate) is None else "person"


def _name(sqlstate: str) -> str | None:
    """PostgreSQL's own name of a code, in words; None for codes that are not its own."""
    from psycopg.errors import lookup

    try:
        name = lookup(sqlstate).__name__
    except KeyError:
        return None
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _server_text(error: BaseException, sqlstate: str) -> str:
    name, context = _name(sqlstate), _diagnosis(error, "context")
    is_servers_own = name and (not context or re.fullmatch(r"COPY [^\n\"]*", context))
    if is_servers_own and sqlstate.startswith(_SPOKEN):
        return _first_line(_diagnosis(error, "message_primary") or str(_origin(error)))
    return f"{name or 'an error of a function or trigger'} (SQLSTATE {sqlstate}; the server's log says more)"


def _diagnosis(error: BaseException, field: str) -> str | None:
    """A field of the server's report: psycopg gives it as an attribute, ADBC in a list."""
    origin = _origin(error)
    details = dict(getattr(origin, "details", None) or ())
    value = details.get(f"PG_DIAG_{field.upper()}") or getattr(getattr(origin, "diag", None), field, None)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _is_broken_stream(error: BaseException) -> bool:
    """An Arrow stream of ADBC that broke off under another library's hands."""
    return isinstance(error, (OSError, ValueError)) and "[libpq]" in str(error)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]

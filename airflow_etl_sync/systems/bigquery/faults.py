"""What an error of BigQuery means; its text is shown nowhere, since it may quote a row, but for its reason and job.

Its `reasons <https://cloud.google.com/bigquery/docs/error-messages>`__ tell them apart, else the HTTP status. That of a
transaction which another one has cancelled is the same as that of a wrong query, so there the text decides.
"""

from __future__ import annotations

import re
from typing import Any

from airflow_etl_sync.faults import Blame, Fault, fault_of

_PASSES = (
    "backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded", "quotaExceeded",
    "rateLimitExceeded", "stopped", "tableUnavailable", "timeout",
)  # fmt: skip
_TABLES = ("duplicate", "invalid", "invalidQuery", "notFound", "resourceInUse")
_PASSING_CODES = (408, 429, 500, 502, 503, 504)
_MISSING = 404
_CONFLICT = re.compile(r"concurrent update|could not serialize|Transaction is aborted", re.IGNORECASE)
_JOB = re.compile(r"Job ID: ([\w:.-]+)")
_REASON = re.compile(r"\w{1,40}")
_LIBRARIES = ("google.", "requests.", "urllib3.")
_BROKEN_OFF = ("ConnectionError", "ProtocolError", "RetryError", "Timeout", "TransportError")


def bigquery_fault_of(error: BaseException) -> Fault | None:
    """What an error means; one of PostgreSQL too, as the state tables are there."""
    if not type(error).__module__.startswith(_LIBRARIES):
        return fault_of(error)
    reason, code, job = _reason(error), _code(error), _JOB.search(str(error))
    told = [type(error).__name__, reason, str(code or ""), f"job {job[1]}" if job else ""]
    return Fault(None, _blame(error, reason, code), f"BigQuery refuses it ({', '.join(filter(None, told))})")


def _blame(error: BaseException, reason: str, code: int) -> Blame:
    is_broken_off = bool({base.__name__ for base in type(error).__mro__} & set(_BROKEN_OFF))
    if is_broken_off or reason in _PASSES or code in _PASSING_CODES or _CONFLICT.search(str(error)):
        return "time"
    return "schema" if reason in _TABLES or code == _MISSING else "person"


def _reason(error: BaseException) -> str:
    """BigQuery's own word for it; empty where it has none."""
    errors: Any = getattr(error, "errors", None)
    first = errors[0] if isinstance(errors, (list, tuple)) and errors else {}
    reason = first.get("reason") if isinstance(first, dict) else None
    return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else ""


def _code(error: BaseException) -> int:
    code = getattr(error, "code", None)
    return int(code) if isinstance(code, int) else 0

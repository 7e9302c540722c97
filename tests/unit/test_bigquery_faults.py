"""What errors of BigQuery's client mean, and that their texts stay where they are."""

from __future__ import annotations

import pytest

from airflow_etl_sync.faults import Blame
from airflow_etl_sync.systems.bigquery.faults import bigquery_fault_of

exceptions = pytest.importorskip("google.api_core.exceptions")
SECRET = "Bad int64 value: se-cret"


@pytest.mark.parametrize(
    ("kind", "reason", "text", "blame"),
    [
        ("NotFound", "notFound", SECRET, "schema"),
        ("BadRequest", "invalidQuery", SECRET, "schema"),
        ("BadRequest", "invalid", SECRET, "schema"),
        ("BadRequest", "invalidQuery", "Transaction is aborted due to concurrent update against table x", "time"),
        ("BadRequest", "invalidQuery", "Could not serialize access to table x due to concurrent update", "time"),
        ("Forbidden", "accessDenied", SECRET, "person"),
        ("Forbidden", "rateLimitExceeded", SECRET, "time"),
        ("Forbidden", "quotaExceeded", SECRET, "time"),
        ("Forbidden", "billingNotEnabled", SECRET, "person"),
        ("Unauthorized", "authError", SECRET, "person"),
        ("TooManyRequests", "", SECRET, "time"),
        ("ServiceUnavailable", "backendError", SECRET, "time"),
        ("InternalServerError", "", SECRET, "time"),
        ("BadRequest", "stopped", SECRET, "time"),
    ],
)
def test_who_mends_it(kind: str, reason: str, text: str, blame: Blame) -> None:
    errors = [{"reason": reason, "message": text}] if reason else []
    error = getattr(exceptions, kind)(f"{text}\n\nLocation: EU\nJob ID: abc-1\n", errors=errors)
    fault = bigquery_fault_of(error)
    assert fault is not None and fault.blame == blame
    told = ", ".join(filter(None, [kind, reason, str(error.code.value), "job abc-1"]))
    assert fault.text == f"BigQuery refuses it ({told})"


def test_what_breaks_off_passes_with_time_and_a_wrong_key_does_not() -> None:
    from google.auth.exceptions import RefreshError, TransportError
    from requests.exceptions import ConnectionError as NoConnection

    for error in (NoConnection(SECRET), TransportError(SECRET), exceptions.RetryError(SECRET, None)):  # type: ignore[no-untyped-call]
        fault = bigquery_fault_of(error)
        assert fault is not None and fault.blame == "time" and "se-cret" not in fault.text
    wrong = bigquery_fault_of(RefreshError(SECRET))  # type: ignore[no-untyped-call]
    assert wrong is not None and wrong.blame == "person" and "se-cret" not in wrong.text


def test_an_error_of_something_else_is_judged_as_one_of_the_states_database() -> None:
    assert bigquery_fault_of(ValueError("x")) is None

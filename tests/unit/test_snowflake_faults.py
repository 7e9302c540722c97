"""What errors of Snowflake's connector mean, and that their texts stay where they are."""

from __future__ import annotations

import pytest

from airflow_etl_sync.faults import Blame
from airflow_etl_sync.systems.snowflake.faults import is_absent, snowflake_fault_of

errors = pytest.importorskip("snowflake.connector.errors")


@pytest.mark.parametrize(
    ("kind", "number", "sqlstate", "blame"),
    [
        ("ProgrammingError", 2003, "42S02", "schema"),
        ("ProgrammingError", 2043, "02000", "schema"),
        ("ProgrammingError", 1003, "42000", "person"),
        ("ProgrammingError", 3001, "42501", "person"),
        ("ProgrammingError", 100038, "22018", "row"),
        ("ProgrammingError", 100078, "22000", "row"),
        ("IntegrityError", 100072, "22000", "row"),
        ("ProgrammingError", 100090, "42P18", "person"),
        ("ProgrammingError", 625, "57014", "time"),
        ("ProgrammingError", 630, "57014", "time"),
        ("DatabaseError", 250001, "08001", "person"),
        ("OperationalError", 250001, "08001", "time"),
        ("DatabaseError", 390114, None, "time"),
    ],
)
def test_who_mends_it(kind: str, number: int, sqlstate: str | None, blame: Blame) -> None:
    error = getattr(errors, kind)(
        msg="Numeric value 'se-cret' is not recognized", errno=number, sqlstate=sqlstate, sfqid="01b2-query"
    )
    fault = snowflake_fault_of(error)
    assert fault is not None and fault.blame == blame
    assert fault.text == f"Snowflake refuses it ({kind} {number}, query 01b2-query)"


@pytest.mark.parametrize(
    ("kind", "blame"),
    [("ServiceUnavailableError", "time"), ("InternalServerError", "time"), ("ForbiddenError", "person")],
)
def test_what_the_way_there_answers(kind: str, blame: Blame) -> None:
    fault = snowflake_fault_of(getattr(errors, kind)())
    assert fault is not None and fault.blame == blame


def test_what_is_not_there_is_told_from_what_fails() -> None:
    assert is_absent(errors.ProgrammingError(msg="", errno=2003, sqlstate="42S02"))
    assert not is_absent(errors.ProgrammingError(msg="", errno=1003, sqlstate="42000"))


def test_an_error_of_something_else_is_judged_as_one_of_the_states_database() -> None:
    assert snowflake_fault_of(ValueError("x")) is None

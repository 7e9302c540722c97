"""Which errors Airflow tries again, and that neither they nor its log show a row or a secret."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.dags.conftest import Airflow

pytestmark = pytest.mark.scenario("S24")

DAGS = ["templated_chain", "templated_one_task"]
LOADERS = {"templated_chain": "chain.load", "templated_one_task": "sync"}
PEOPLE = {"table": "public.people", "chunk_rows": 2}
VALUE = "Lovelace"
REFUSES_ONCE = """
CREATE TABLE public.copy (id bigint PRIMARY KEY, name text, updated_at timestamptz NOT NULL);
CREATE SEQUENCE public.refusals;
CREATE FUNCTION public.refuse_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('public.refusals') = 1 THEN
        RAISE EXCEPTION 'not % yet', NEW.name USING ERRCODE = '{}', DETAIL = NEW.name, HINT = NEW.name;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refuse_once BEFORE INSERT ON public.copy FOR EACH ROW EXECUTE FUNCTION public.refuse_once()
"""


@pytest.fixture(autouse=True)
def people(source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE public.people (id bigint PRIMARY KEY, name text, updated_at timestamptz NOT NULL)")
    source.execute("INSERT INTO public.people SELECT i, %s, now() FROM generate_series(1, 5) AS i", [VALUE])


@pytest.mark.parametrize("dag_id", DAGS)
def test_what_passes_with_time_is_tried_again_and_then_succeeds(
    airflow: Airflow, warehouse: psycopg.Connection, dag_id: str
) -> None:
    warehouse.execute(REFUSES_ONCE.format("40001"))
    run = airflow.run(dag_id, **PEOPLE)
    assert (run.state, run.tries) == ("success", 2)
    assert run.counts(LOADERS[dag_id]) == {"inserted": 5, "updated": 0, "skipped": 0, "errors": 0}
    assert len(run.errors) == 1 and "serialization failure" in run.errors[0]
    assert "serialization failure" in run.log
    assert VALUE not in run.log + run.errors[0]


@pytest.mark.parametrize("dag_id", DAGS)
def test_a_row_that_a_trigger_refuses_is_not_tried_again(
    airflow: Airflow, warehouse: psycopg.Connection, dag_id: str
) -> None:
    warehouse.execute(REFUSES_ONCE.format("P0001"))
    run = airflow.run(dag_id, **PEOPLE)
    assert (run.state, run.tries) == ("failed", 1)
    assert "SQLSTATE P0001" in run.errors[0]
    assert "SQLSTATE P0001" in run.log
    assert VALUE not in run.log + run.errors[0]


@pytest.mark.parametrize("dag_id", DAGS)
@pytest.mark.parametrize("side", ["source_conn_id", "destination_conn_id"])
def test_a_wrong_password_has_one_try(airflow: Airflow, source_db: str, dag_id: str, side: str) -> None:
    airflow.connect("wrong_password", source_db, password="do-not-show")
    run = airflow.run(dag_id, **PEOPLE, **{side: "wrong_password"})
    assert (run.state, run.tries) == ("failed", 1)
    assert "password authentication failed" in run.errors[0]
    assert "PostgreSQL is not ready" not in run.log
    assert "do-not-show" not in run.log + run.errors[0]


def test_an_authors_own_policy_is_asked_about_what_may_be_tried_again(airflow: Airflow, source_db: str) -> None:
    pytest.importorskip("airflow.sdk.definitions.retry_policy")
    airflow.connect("closed", source_db, host="127.0.0.1", port=1)
    closed: dict[str, Any] = PEOPLE | {"source_conn_id": "closed"}
    assert airflow.run("templated_one_task", **closed).tries == 2
    run = airflow.run("own_policy", **closed)
    assert (run.state, run.tries) == ("failed", 1)
    assert "PostgreSQL is not ready (Connection refused), attempt 1" in run.log

"""What Airflow's own notifiers can say of a run: Airflow runs the DAGs and calls them."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg

from airflow_etl_sync.demo.shop import Shop
from tests.dags.conftest import ORDERS, Airflow

SENTENCE = (
    rf"notified: processed {ORDERS}, inserted {ORDERS}, updated 0, skipped 0, errors 0; "
    r"from the beginning to 20\d\d-\S+ \S+; \d+ s behind; failed records open: 0; \d+\.\d s"
)


def test_a_notifier_says_rows_window_and_lag(airflow: Airflow, shop: Shop, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    assert airflow.run("notified_in_one_task", notes=str(notes)).state == "success"
    sentence, facts = notes.read_text().splitlines()
    assert re.fullmatch(f"sync: {SENTENCE}", sentence), sentence
    assert facts == f"sync: {ORDERS} new, 0 failed, timestamptz"


def test_of_a_chain_the_advance_has_the_outcome(airflow: Airflow, shop: Shop, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    assert airflow.run("notified_chain", notes=str(notes)).state == "success"
    told = dict(line.split(": ", 1) for line in notes.read_text().splitlines())
    assert (told["notified.extract"], told["notified.load"]) == ("nothing", "nothing")
    assert re.fullmatch(SENTENCE, told["notified.advance"]), told


def test_a_run_that_fails_has_no_outcome(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, tmp_path: Path
) -> None:
    source.execute("ALTER TABLE public.orders DROP COLUMN updated_at")
    notes = tmp_path / "notes"
    assert airflow.run("notified_in_one_task", notes=str(notes)).state == "failed"
    assert notes.read_text() == "sync: no outcome\n"

"""S18: a database in another encoding than UTF-8, whose sessions speak that encoding unless they are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.demo.postgres import Databases
from tests.scenarios.world import FORMS, Form, World

pytestmark = pytest.mark.scenario("S18")

TEXTS = ["ü", "Ã¼", "ß€"[:1], "plain", ""]


@pytest.fixture
def latin(server: Databases, new_database: Callable[[str], str]) -> str:
    like = new_database("latin")
    name = psycopg.conninfo.conninfo_to_dict(like)["dbname"]
    with psycopg.connect(server.admin, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name}")
        admin.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with psycopg.connect(like, autocommit=True, client_encoding="utf8") as source:
        source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, v text, w varchar(5)[])")
        for number, text in enumerate(TEXTS):
            source.execute("INSERT INTO t VALUES (%s, now(), %s, ARRAY[%s])", [number, text, text])
    return like


@pytest.mark.parametrize("form", FORMS)
def test_texts_of_a_latin_database_arrive_exactly(
    form: Form, latin: str, warehouse_db: str, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    world = World(latin, warehouse_db, tmp_path)
    assert world.run(form) == Counts(inserted=len(TEXTS))
    found = warehouse.execute("SELECT v, w FROM t ORDER BY id").fetchall()
    assert found == [(text, [text]) for text in TEXTS]

"""What Airflow's connections become, and what is said of those that cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

CONNECTIONS: dict[str, dict[str, Any]] = {
    "full": {"host": "db", "login": "me", "password": "se cret'", "port": 5433, "schema": "shop"},
    "bare": {"host": "db"},
    "options": {"extra": {"sslmode": "require", "keepalives": True, "keepalives_idle": 30, "application_name": "mine"}},
    "hook_only": {"extra": {"cursor": "dictcursor", "sqlalchemy_query": {"a": "b"}, "aws_conn_id": "aws"}},
    "nothing_given": {"extra": {"sslmode": None}},
    "misspelt": {"password": "se cret'", "extra": {"sslmoed": "se cret'"}},
    "nested": {"extra": {"sslmode": {"se cret'": 1}}},
    "a_mysql": {"conn_type": "mysql", "password": "se cret'"},
}

RESOLVE = """
import json, sys
from psycopg.conninfo import conninfo_to_dict
from airflow_etl_sync import ConfigurationError
from airflow_etl_sync.hooks.connections import postgres_access
def resolve(conn_id):
    try:
        return conninfo_to_dict(postgres_access(conn_id).conninfo)
    except ConfigurationError as error:
        return str(error)
print("RESULT" + json.dumps({conn_id: resolve(conn_id) for conn_id in sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def resolved(airflow_environment: dict[str, str]) -> dict[str, Any]:
    given = {
        f"AIRFLOW_CONN_{name.upper()}": json.dumps({"conn_type": "postgres", **fields})
        for name, fields in CONNECTIONS.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, *CONNECTIONS, "nowhere"],
        env=airflow_environment | given, check=True, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.partition("RESULT")[2])
    return result


def test_fields_become_libpq_options(resolved: dict[str, Any]) -> None:
    assert resolved["full"] == {"host": "db", "user": "me", "password": "se cret'", "port": "5433", "dbname": "shop"}
    assert resolved["bare"] == {"host": "db"}


def test_extras_become_libpq_options(resolved: dict[str, Any]) -> None:
    assert resolved["options"] == CONNECTIONS["options"]["extra"] | {"keepalives": "1", "keepalives_idle": "30"}


def test_extras_of_the_hook_are_left_to_it(resolved: dict[str, Any]) -> None:
    assert resolved["hook_only"] == {}
    assert resolved["nothing_given"] == {}


@pytest.mark.parametrize(
    ("conn_id", "said"),
    [
        ("misspelt", "The extra of the connection 'misspelt' holds 'sslmoed', which PostgreSQL's client"),
        ("nested", "The extra 'sslmode' of the connection 'nested' must be a text or a number"),
        ("a_mysql", "The connection 'a_mysql' is of type 'mysql': choose one of type 'postgres'."),
        ("nowhere", "The connection 'nowhere' does not exist: add it in Airflow"),
    ],
)
def test_unusable_connection_is_refused_without_secrets(resolved: dict[str, Any], conn_id: str, said: str) -> None:
    assert resolved[conn_id].startswith(said)
    assert "se cret'" not in resolved[conn_id]

"""What a connection of type snowflake becomes, and what is said of one that cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.snowflake_emulator import Snowflake, new_snowflake

KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"phrase")
).decode()
ACCOUNT = {"account": "acme-eu", "database": "SHOP", "warehouse": "LOADS"}
GIVEN: dict[str, dict[str, Any]] = {
    "plain": {"schema": "RAW", "extra": ACCOUNT | {"role": "LOADER", "insecure_mode": False, "region": ""}},
    "prefixed": {"extra": {f"extra__snowflake__{name}": value for name, value in ACCOUNT.items()}},
    "token": {"extra": ACCOUNT | {"authenticator": "programmatic_access_token"}},
    "key": {"password": "phrase", "extra": ACCOUNT | {"private_key_content": PEM}},
    "key_file": {"extra": ACCOUNT | {"private_key_file": "/keys/loader.p8"}},
    "wrong_phrase": {"password": "se-cret", "extra": ACCOUNT | {"private_key_content": PEM}},
    "no_account": {"extra": {"database": "SHOP"}},
    "no_database": {"extra": {"account": "acme-eu"}},
    "no_schema": {"extra": ACCOUNT},
    "unknown": {"extra": ACCOUNT | {"refresh_token": "se-cret", "grant_type": "refresh_token"}},
    "unchecked": {"extra": ACCOUNT | {"insecure_mode": True}},
}

RESOLVE = """
import hashlib, json, sys
from airflow_etl_sync import ConfigurationError
from airflow.sdk import BaseHook
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.hooks.destinations import destination_of
from airflow_etl_sync.hooks.snowflake import snowflake_access
def resolve(conn_id):
    try:
        if conn_id == "no_schema":
            return destination_of(conn_id, TableName("t"), "state").destination.target
        access = snowflake_access(conn_id, BaseHook.get_connection(conn_id))
        options = dict(access.options)
        if "private_key" in options:
            options["private_key"] = hashlib.sha256(options["private_key"]).hexdigest()
        return [options, access.place, repr(access)]
    except ConfigurationError as error:
        return str(error)
there = destination_of("served", TableName("t", "public"), "state").destination
told = {"served": [there.target, dict(there.recall("r")), dict(there.types())]}
print("RESULT" + json.dumps({conn_id: resolve(conn_id) for conn_id in sys.argv[1:]} | told))
"""


@pytest.fixture(scope="module")
def served() -> Any:
    with new_snowflake() as database:
        database.execute("CREATE TABLE t (id NUMBER(38,0), v VARCHAR)")
        yield database


@pytest.fixture(scope="module")
def resolved(airflow_environment: dict[str, str], served: Snowflake) -> dict[str, Any]:
    options = dict(served.access.options)
    extra = {name: options[name] for name in ("account", "host", "port", "protocol", "database")}
    known = {"served": {"login": "fake", "password": "snow", "schema": "PUBLIC", "extra": extra}}
    connections = {name: {"conn_type": "snowflake", "login": "loader", **fields} for name, fields in GIVEN.items()}
    connections |= {name: {"conn_type": "snowflake", **fields} for name, fields in known.items()}
    connections["state"] = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "schema": "state"}
    given = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RESOLVE, *GIVEN],
        env=airflow_environment | given, check=True, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.partition("RESULT")[2])
    return result


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", ACCOUNT | {"user": "loader", "schema": "RAW", "role": "LOADER"}),
        ("prefixed", ACCOUNT | {"user": "loader"}),
        ("key_file", ACCOUNT | {"user": "loader", "private_key_file": "/keys/loader.p8"}),
    ],
)
def test_fields_and_extras_are_what_the_connector_takes(
    resolved: dict[str, Any], name: str, expected: dict[str, str]
) -> None:
    assert resolved[name][0] == expected


def test_a_key_is_read_with_the_password_as_its_phrase(resolved: dict[str, Any]) -> None:
    import hashlib

    der = KEY.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    options, place, shown = resolved["key"]
    assert options == ACCOUNT | {"user": "loader", "private_key": hashlib.sha256(der).hexdigest()}
    assert place == "snowflake://acme-eu/SHOP"
    assert shown == "SnowflakeAccess()"


def test_a_token_is_the_password(resolved: dict[str, Any]) -> None:
    assert resolved["token"][0] == ACCOUNT | {"user": "loader", "authenticator": "programmatic_access_token"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_account", "names no account: give account and database among its extras"),
        ("no_database", "names no database"),
        ("no_schema", "names no schema"),
        ("unknown", "holds 'grant_type', 'refresh_token', which are not taken here"),
        ("unchecked", "holds 'insecure_mode', which is not taken here"),
        ("wrong_phrase", "private_key_content of the connection 'wrong_phrase' cannot be read"),
    ],
)
def test_a_connection_that_cannot_be_used_is_told(resolved: dict[str, Any], name: str, said: str) -> None:
    assert said in resolved[name] and "se-cret" not in resolved[name]


def test_a_connection_leads_to_a_table(resolved: dict[str, Any], served: Snowflake) -> None:
    place = f"snowflake://fakesnow/{served.access.options['database']}/PUBLIC"
    assert resolved["served"] == [f"public.t in place {place}", {}, {"id": "numeric", "v": ""}]

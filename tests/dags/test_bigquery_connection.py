"""What a connection of type google_cloud_platform becomes, and what is said of one that cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.bigquery_emulator import PROJECT, BigQuery, new_bigquery

PEM = (
    rsa.generate_private_key(65537, 2048)
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)
KEY = {
    "type": "service_account", "project_id": "acme-shop", "private_key_id": "1", "private_key": PEM,
    "client_email": "loader@acme-shop.iam.gserviceaccount.com", "client_id": "2",
    "token_uri": "https://oauth2.googleapis.com/token",
}  # fmt: skip
GIVEN: dict[str, dict[str, Any]] = {
    "plain": {"extra": {"keyfile_dict": json.dumps(KEY), "dataset": "raw", "location": "EU", "num_retries": 5}},
    "dict": {"conn_type": "gcpbigquery", "schema": "raw", "extra": {"keyfile_dict": KEY, "project": "other"}},
    "prefixed": {"extra": {"extra__google_cloud_platform__keyfile_dict": json.dumps(KEY), "key_path": ""}},
    "file": {"extra": {"key_path": "KEY_PATH", "scope": "https://a/one, https://a/two"}},
    "broken": {"extra": {"keyfile_dict": '{"private_key": "se-cret"}'}},
    "no_json": {"extra": {"keyfile_dict": "se-cret"}},
    "no_file": {"extra": {"key_path": "/no/such/se-cret"}},
    "both": {"extra": {"key_path": "/key", "keyfile_dict": "se-cret"}},
    "nothing": {"extra": {}},
    "no_project": {"extra": {"is_anonymous": True}},
    "no_dataset": {"extra": {"is_anonymous": True, "project": "acme"}},
    "unknown": {"extra": {"impersonation_chain": "se-cret", "key_secret_name": "se-cret"}},
}

RESOLVE = """
import json, sys
from airflow_etl_sync import ConfigurationError
from airflow.sdk import BaseHook
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.hooks.destinations import destination_of
from airflow_etl_sync.hooks.bigquery import bigquery_access
def resolve(conn_id):
    try:
        if conn_id == "no_dataset":
            return destination_of(conn_id, TableName("t"), "state").destination.target
        access = bigquery_access(conn_id, BaseHook.get_connection(conn_id))
        email, scopes = access.credentials.service_account_email, access.credentials.scopes
        return [access.project, access.dataset, access.location, email, list(scopes), access.place, repr(access)]
    except ConfigurationError as error:
        return str(error)
there = destination_of("served", TableName("t"), "state").destination
told = {"served": [there.target, dict(there.recall("r")), dict(there.types())]}
print("RESULT" + json.dumps({conn_id: resolve(conn_id) for conn_id in sys.argv[1:]} | told))
"""
CLOUD = ["https://www.googleapis.com/auth/cloud-platform"]


@pytest.fixture(scope="module")
def served() -> Any:
    with new_bigquery() as dataset:
        dataset.execute("CREATE TABLE `{}.t` (id INT64, v STRING, n NUMERIC(5,2))")
        yield dataset


@pytest.fixture(scope="module")
def resolved(
    airflow_environment: dict[str, str], served: BigQuery, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("keys")
    (folder / "key.json").write_text(json.dumps(KEY))
    access = served.access
    extra = {"is_anonymous": True, "project": PROJECT, "dataset": access.dataset, "api_endpoint": access.endpoint}
    connections = {name: {"conn_type": "google_cloud_platform", **fields} for name, fields in GIVEN.items()}
    connections["served"] = {"conn_type": "gcpbigquery", "extra": extra}
    connections["state"] = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "schema": "state"}
    given = {
        f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields).replace("KEY_PATH", str(folder / "key.json"))
        for name, fields in connections.items()
    }
    nowhere = {"GOOGLE_APPLICATION_CREDENTIALS": "/no/such/file", "NO_GCE_CHECK": "true"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RESOLVE, *GIVEN],
        env=airflow_environment | given | nowhere, check=True, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.partition("RESULT")[2])
    return result


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", ["acme-shop", "raw", "EU", KEY["client_email"], CLOUD, "bigquery://acme-shop/raw"]),
        ("dict", ["other", "raw", None, KEY["client_email"], CLOUD, "bigquery://other/raw"]),
        ("prefixed", ["acme-shop", None, None, KEY["client_email"], CLOUD, "bigquery://acme-shop"]),
        ("file", ["acme-shop", None, None, KEY["client_email"], ["https://a/one", "https://a/two"], (
            "bigquery://acme-shop"
        )]),
    ],
)  # fmt: skip
def test_fields_are_those_of_airflows_provider(resolved: dict[str, Any], name: str, expected: list[Any]) -> None:
    *found, shown = resolved[name]
    assert found == expected
    assert "redential" not in shown and "BEGIN" not in shown


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "The key of the connection 'broken' cannot be read: give the JSON"),
        ("no_json", "The key of the connection 'no_json' cannot be read"),
        ("no_file", "The key of the connection 'no_file' cannot be read"),
        ("both", "has a keyfile_dict and a key_path: leave one"),
        ("nothing", "has no key, and this machine no default credentials of Google's"),
        ("no_project", "names no project"),
        ("no_dataset", "names no dataset, nor does the table 't': write dataset.table"),
        ("unknown", "holds 'impersonation_chain', 'key_secret_name', which are not taken here"),
    ],
)
def test_a_connection_that_cannot_be_used_is_told(resolved: dict[str, Any], name: str, said: str) -> None:
    assert said in resolved[name] and "se-cret" not in resolved[name]


def test_a_connection_leads_to_a_table(resolved: dict[str, Any], served: BigQuery) -> None:
    place = f"bigquery://{PROJECT}/{served.access.dataset}"
    assert resolved["served"] == [f"t in place {place}", {}, {"id": "bigint", "v": "", "n": "numeric"}]

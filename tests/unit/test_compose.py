"""docker-compose.yaml follows the Compose Specification, names only what exists, and fixes no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import compose_spec
import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yaml").read_text()
VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\})")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|KEY|TOKEN")
AIRFLOW_SERVICES = {
    "airflow-api-server": "api-server",
    "airflow-scheduler": "scheduler",
    "airflow-dag-processor": "dag-processor",
    "airflow-triggerer": "triggerer",
}


def interpolate(text: str, values: dict[str, str]) -> str:
    """The text as Compose reads it with these values of the environment."""

    def value(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "$"
        default = match["text"] if match["kind"] == "-" else ""
        return values.get(name) or default

    return VARIABLE.sub(value, text)


def env_example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def filled_values() -> dict[str, str]:
    return {name: value or f"filled-{name.lower()}" for name, value in env_example().items()}


@pytest.fixture
def compose() -> dict[str, Any]:
    """The file as it runs, with every variable filled in."""
    document = yaml.safe_load(interpolate(COMPOSE, filled_values()))
    assert isinstance(document, dict)
    return document


def test_it_follows_the_compose_specification() -> None:
    options = compose_spec.PyOptions(apply_merge=True)
    options.from_yaml(interpolate(COMPOSE, filled_values())).validate()


def test_the_check_would_see_a_mistake() -> None:
    wrong = interpolate(COMPOSE, filled_values()).replace("healthcheck:", "heathcheck:")
    with pytest.raises(ValueError, match="heathcheck"):
        compose_spec.PyOptions(apply_merge=True).from_yaml(wrong)


def test_every_part_of_airflow_runs_and_waits_for_the_migration(compose: dict[str, Any]) -> None:
    for name, command in AIRFLOW_SERVICES.items():
        service = compose["services"][name]
        assert service["command"] == command
        assert service["depends_on"]["airflow-init"] == {"condition": "service_completed_successfully"}
        assert service["environment"]["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert compose["services"]["airflow-init"]["environment"]["_AIRFLOW_DB_MIGRATE"] == "true"


def test_what_is_waited_for_exists_and_can_be_told_healthy(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            assert other in services, f"{name} waits for {other}"
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for the health of {other}"


def test_the_source_speaks_logical_replication(compose: dict[str, Any]) -> None:
    assert "wal_level=logical" in compose["services"]["shop-db"]["command"]


@pytest.mark.parametrize(
    ("variable", "service"), [("AIRFLOW_CONN_SHOP_DB", "shop-db"), ("AIRFLOW_CONN_WAREHOUSE", "warehouse")]
)
def test_both_connections_lead_to_their_database(compose: dict[str, Any], variable: str, service: str) -> None:
    database = compose["services"][service]["environment"]
    expected = "postgres://{POSTGRES_USER}:{POSTGRES_PASSWORD}@" + service + ":5432/{POSTGRES_DB}"
    for name in AIRFLOW_SERVICES:
        assert compose["services"][name]["environment"][variable] == expected.format(**database)


def test_changes_are_captured_from_the_same_database(compose: dict[str, Any]) -> None:
    database = compose["services"]["shop-db"]["environment"]
    for name in AIRFLOW_SERVICES:
        uri = urlsplit(compose["services"][name]["environment"]["AIRFLOW_CONN_SHOP_CDC"])
        assert (uri.username, uri.password) == (database["POSTGRES_USER"], database["POSTGRES_PASSWORD"])
        assert (uri.hostname, uri.port, uri.path) == ("shop-db", 5432, f"/{database['POSTGRES_DB']}")


def test_the_metadata_connection_leads_to_its_database(compose: dict[str, Any]) -> None:
    database = compose["services"]["metadata-db"]["environment"]
    expected = "postgresql+psycopg2://{POSTGRES_USER}:{POSTGRES_PASSWORD}@metadata-db:5432/{POSTGRES_DB}"
    environment = compose["services"]["airflow-scheduler"]["environment"]
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == expected.format(**database)


def test_the_rows_to_sync_go_into_the_shop(compose: dict[str, Any]) -> None:
    database = compose["services"]["shop-db"]["environment"]
    expected = "postgresql://{POSTGRES_USER}:{POSTGRES_PASSWORD}@shop-db:5432/{POSTGRES_DB}"
    assert compose["services"]["shop-rows"]["environment"]["SHOP_URI"] == expected.format(**database)


def test_every_mounted_or_built_path_and_volume_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            known = (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"]
            assert known, f"{mount} names nothing that exists"
        if build := service.get("build"):
            assert (ROOT / build["context"] / "pyproject.toml").is_file()


def test_the_image_of_airflow_s_services_is_built_from_this_package(compose: dict[str, Any]) -> None:
    services = compose["services"]
    built = services["airflow-init"]
    assert {services[name]["image"] for name in (*AIRFLOW_SERVICES, "shop-rows")} == {built["image"]}
    dockerfile = built["build"]["dockerfile_inline"]
    installed = re.search(r"--editable (\S+)", dockerfile)
    assert installed is not None
    folder = installed[1]
    assert f"COPY --chown=airflow:0 . {folder}" in dockerfile
    for name in AIRFLOW_SERVICES:
        assert f"./airflow_etl_sync:{folder}/airflow_etl_sync:ro" in services[name]["volumes"]
        assert "./dags:/opt/airflow/dags:ro" in services[name]["volumes"]


def test_airflow_has_one_version_and_it_is_the_tested_one(compose: dict[str, Any]) -> None:
    dockerfile = compose["services"]["airflow-init"]["build"]["dockerfile_inline"]
    versions = set(re.findall(r"(?:apache/airflow:|apache-airflow==)([\d.]+\d)", dockerfile))
    tested = re.search(r"^apache-airflow==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert tested is not None
    assert versions == {tested[1]}


def test_what_the_image_is_built_from_passes_the_dockerignore() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert {"airflow_etl_sync", "dags", "pyproject.toml", "README.md", "LICENSE"} <= allowed
    assert all((ROOT / name).exists() for name in allowed)
    assert not any(name.startswith(".env") for name in allowed)


def test_every_variable_is_explained_and_every_explained_one_is_used() -> None:
    used = {match["name"] for match in VARIABLE.finditer(COMPOSE) if match["name"]}
    assert used == set(env_example())


def test_every_secret_must_be_given() -> None:
    secrets = {match["name"]: match["kind"] for match in VARIABLE.finditer(COMPOSE) if match["name"]}
    given = {name: kind for name, kind in secrets.items() if SECRET_NAME.search(name)}
    assert given
    assert set(given.values()) == {"?"}
    assert all(env_example()[name] == "" for name in given)


def test_no_secret_is_written_in_the_file() -> None:
    raw = yaml.safe_load(COMPOSE)
    for name, service in raw["services"].items():
        for variable, value in service.get("environment", {}).items():
            if SECRET_NAME.search(variable):
                assert VARIABLE.fullmatch(value), f"{variable} of {name} is fixed in the file"
            if "://" in value and "@" in value:
                password = re.search(r"://[^:/]+:(.*)@", value)
                assert password is not None
                assert VARIABLE.fullmatch(password[1]), f"{variable} of {name} holds a fixed password"


def test_ports_are_open_on_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8080:8080"]


def test_env_files_stay_out_of_git() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()

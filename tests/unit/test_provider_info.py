"""Airflow accepts the provider's description, and everything that it names exists."""

from __future__ import annotations

import json
import re
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_etl_sync.provider_info import get_provider_info

PACKAGE = Path(__file__).parents[2] / "airflow_etl_sync"


@pytest.fixture
def schema() -> dict[str, Any]:
    """The form that the installed Airflow checks a provider's description against."""
    loaded = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def modules_that_define(suffix: str, folder: str) -> set[str]:
    """The modules of a folder with a class of that kind, such as ``UpsertLoadOperator``."""
    a_public_class = re.compile(rf"^class [A-Z]\w*{suffix}\(", re.MULTILINE)
    paths = [
        path
        for path in (PACKAGE / folder).glob("*.py")
        if a_public_class.search(path.read_text()) and path.stem[0] != "_"
    ]
    return {f"airflow_etl_sync.{folder}.{path.stem}" for path in paths}


def named_modules(kind: str) -> set[str]:
    return {module for entry in get_provider_info().get(kind, []) for module in entry["python-modules"]}


def test_airflow_s_schema_accepts_it(schema: dict[str, Any]) -> None:
    jsonschema.validate(get_provider_info(), schema)


def test_it_has_no_key_that_airflow_does_not_know(schema: dict[str, Any]) -> None:
    assert set(get_provider_info()) <= set(schema["properties"])


@pytest.mark.parametrize(
    ("kind", "suffix"), [("operators", "Operator"), ("hooks", "Hook"), ("sensors", "Sensor"), ("triggers", "Trigger")]
)
def test_it_names_every_module_of_that_kind(kind: str, suffix: str) -> None:
    assert named_modules(kind) == modules_that_define(suffix, kind)
    assert all(find_spec(module) for module in named_modules(kind))


def test_its_task_decorators_are_what_airflow_gives_as_task_attributes() -> None:
    from airflow.sdk import task

    for decorator in get_provider_info()["task-decorators"]:
        module, _, name = decorator["class-name"].rpartition(".")
        assert getattr(task, decorator["name"]) is getattr(import_module(module), name)


def test_its_links_are_those_that_its_operators_have() -> None:
    from airflow_etl_sync.operators.sync import IncrementalSyncOperator

    links = [f"{type(link).__module__}.{type(link).__name__}" for link in IncrementalSyncOperator.operator_extra_links]
    assert get_provider_info()["extra-links"] == links


def test_every_module_belongs_to_an_integration() -> None:
    info = get_provider_info()
    known = {integration["integration-name"] for integration in info["integrations"]}
    used = {
        entry["integration-name"]
        for kind in ("operators", "hooks", "sensors", "triggers")
        for entry in info.get(kind, [])
    }
    assert used <= known


def test_the_installed_entry_point_leads_to_it() -> None:
    found = entry_points(group="apache_airflow_provider", name="provider_info")
    ours = [entry for entry in found if entry.dist is not None and entry.dist.name == "airflow-etl-sync"]
    assert [entry.load() for entry in ours] == [get_provider_info]

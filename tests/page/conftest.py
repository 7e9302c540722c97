"""One running Airflow for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_etl_sync.demo.postgres import Databases
from tests.page.deployment import Deployment, deployed, fill


@pytest.fixture(scope="session")
def deployment(server: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Airflow with the page, its syncs filled."""
    with deployed(server, tmp_path_factory.mktemp("page") / "airflow") as running:
        fill(running)
        yield running

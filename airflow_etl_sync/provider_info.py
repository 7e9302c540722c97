"""What Airflow reads of this provider at start-up, before it imports anything else of it."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "ETL sync"


def get_provider_info() -> dict[str, Any]:
    """The provider's description, in the form of Airflow's ``provider_info.schema.json``.

    :return: names and modules only; nothing here imports Airflow or a database driver.
    """
    return {
        "package-name": "airflow-etl-sync",
        "name": "ETL sync",
        "description": "Keeps tables in step: reads what changed, upserts it idempotently, then moves the watermark.",
        "integrations": [{"integration-name": _INTEGRATION, "tags": ["software"]}],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [
                    "airflow_etl_sync.operators.advance",
                    "airflow_etl_sync.operators.extract",
                    "airflow_etl_sync.operators.failed_records",
                    "airflow_etl_sync.operators.load",
                    "airflow_etl_sync.operators.reconcile",
                    "airflow_etl_sync.operators.sync",
                    "airflow_etl_sync.operators.watermark",
                ],
            }
        ],
        "sensors": [{"integration-name": _INTEGRATION, "python-modules": ["airflow_etl_sync.sensors.notify"]}],
        "triggers": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_etl_sync.triggers.notify", "airflow_etl_sync.triggers.slot"],
            }
        ],
    }

"""What Airflow reads of this provider at start-up, before it imports anything else of it."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "ETL sync"
_POSTGRES_CDC: dict[str, Any] = {
    "connection-type": "postgres_cdc",
    "hook-class-name": "airflow_etl_sync.hooks.cdc.PostgresCdcHook",
    "hook-name": "PostgreSQL change data capture",
    "ui-field-behaviour": {
        "hidden-fields": [],
        "relabeling": {"schema": "Database"},
        "placeholders": {"port": "5432", "extra": '{"sslmode": "verify-full"}'},
    },
    "conn-fields": {
        "slot": {
            "label": "Replication slot",
            "description": "Its name: 1 to 63 of a-z, 0-9 and underscore, unique on the server.",
            "schema": {"type": ["string", "null"]},
        },
        "publication": {
            "label": "Publication",
            "description": "Its name; empty takes the slot's name.",
            "schema": {"type": ["string", "null"]},
        },
        "tables": {
            "label": "Tables",
            "description": "Those whose changes are captured, separated by commas: shop.orders, shop.customers.",
            "schema": {"type": ["string", "null"]},
        },
    },
}
"""A connection's form beside the usual fields; what it asks for is kept in the connection's extras."""

_MYSQL_CDC = {
    "connection-type": "mysql_cdc",
    "hook-class-name": "airflow_etl_sync.hooks.mysql_cdc.MysqlCdcHook",
    "hook-name": "MySQL or MariaDB change data capture",
    "ui-field-behaviour": {
        "hidden-fields": [],
        "relabeling": {"schema": "Database"},
        "placeholders": {"port": "3306", "extra": '{"ssl": {"ca": "/etc/ssl/certs/ca.pem"}}'},
    },
    "conn-fields": {"tables": _POSTGRES_CDC["conn-fields"]["tables"]},
}

_DELTA_LAKE = {
    "connection-type": "delta_lake",
    "hook-class-name": "airflow_etl_sync.hooks.delta.DeltaLakeHook",
    "hook-name": "Delta Lake",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login", "password", "port"],
        "relabeling": {"host": "Directory, or s3://CONN_ID@BUCKET/PREFIX"},
        "placeholders": {"host": "s3://aws_default@lake/tables", "extra": '{"partition_by": {"shop.orders": ["day"]}}'},
    },
}
_DUCKDB = {
    "connection-type": "duckdb",
    "hook-class-name": "airflow_etl_sync.hooks.duckdb.DuckDbHook",
    "hook-name": "DuckDB",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login", "password", "port", "extra"],
        "relabeling": {"host": "File"},
        "placeholders": {"host": "/data/warehouse.duckdb"},
    },
}
_PARQUET_LAKE = {
    **_DELTA_LAKE,
    "connection-type": "parquet_lake",
    "hook-class-name": "airflow_etl_sync.hooks.parquet.ParquetLakeHook",
    "hook-name": "Parquet lake",
}


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
                    "airflow_etl_sync.operators.cdc",
                    "airflow_etl_sync.operators.cdc_slot",
                    "airflow_etl_sync.operators.extract",
                    "airflow_etl_sync.operators.failed_records",
                    "airflow_etl_sync.operators.load",
                    "airflow_etl_sync.operators.reconcile",
                    "airflow_etl_sync.operators.split",
                    "airflow_etl_sync.operators.sync",
                    "airflow_etl_sync.operators.watermark",
                ],
            }
        ],
        "hooks": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [
                    "airflow_etl_sync.hooks.cdc",
                    "airflow_etl_sync.hooks.delta",
                    "airflow_etl_sync.hooks.duckdb",
                    "airflow_etl_sync.hooks.mysql_cdc",
                    "airflow_etl_sync.hooks.parquet",
                ],
            }
        ],
        "connection-types": [_POSTGRES_CDC, _MYSQL_CDC, _DELTA_LAKE, _DUCKDB, _PARQUET_LAKE],
        "task-decorators": [
            {"name": "etl_sync", "class-name": "airflow_etl_sync.decorators.etl_sync.etl_sync_task"},
        ],
        "extra-links": ["airflow_etl_sync.observability.links.SyncLink"],
        "sensors": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_etl_sync.sensors.notify", "airflow_etl_sync.sensors.slot"],
            }
        ],
        "triggers": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_etl_sync.triggers.notify", "airflow_etl_sync.triggers.slot"],
            }
        ],
    }

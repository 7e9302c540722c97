"""What Airflow's components read of the page; only the API server goes on to build it."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_etl_sync.plugin.mounting import PREFIX, ROUTE

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='{}' "
    "stroke-width='2' stroke-linecap='round' stroke-linejoin='round'%3E%3Cpath d='M4 12a8 8 0 0 1 14-5.3L20 9m0-5v5h-5"
    "M20 12a8 8 0 0 1-14 5.3L4 15m0 5v-5h5'/%3E%3C/svg%3E"
)


class _BuiltWhenAsked:
    """The list of FastAPI apps: plugins are imported by every task, and only the API server needs the app."""

    def __get__(self, _instance: object, _owner: type) -> list[dict[str, Any]]:
        from airflow_etl_sync.plugin.app import the_app

        return [{"app": the_app(), "url_prefix": PREFIX, "name": "ETL Sync"}]


class EtlSyncPlugin(AirflowPlugin):
    """Mounts the page's app and puts it into the navigation, as Airflow's external view in an iframe."""

    name = "etl_sync"
    fastapi_apps: Any = _BuiltWhenAsked()
    external_views: list[Any] = [  # noqa: RUF012 - Airflow's base class has it so
        {
            "name": "ETL Sync",
            "href": f"{PREFIX.lstrip('/')}/",  # relative, since Airflow may be served below a path
            "url_route": ROUTE,
            "destination": "nav",
            "nav_top_level": True,
            "icon": _ICON.format("%23647da6"),
            "icon_dark_mode": _ICON.format("%23e4e4e7"),
        }
    ]

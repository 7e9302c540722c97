"""Where in Airflow the page is."""

from __future__ import annotations

PREFIX = "/etl_sync"
"""In front of every path of the page's app."""

ROUTE = "etl-sync"
"""The last part of the address under which Airflow shows the page."""

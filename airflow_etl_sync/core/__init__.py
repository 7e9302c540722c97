"""The values and rules of a sync. Imports nothing of this package but :mod:`airflow_etl_sync.errors`."""

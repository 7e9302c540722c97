"""Decorators that Airflow offers as ``@task.…``."""

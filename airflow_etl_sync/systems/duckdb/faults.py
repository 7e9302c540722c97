"""What an error of DuckDB means; its text is shown nowhere, since it may quote a row."""

from __future__ import annotations

from airflow_etl_sync.faults import Blame, Fault, fault_of

_BLAMES: dict[str, Blame] = {
    "ConstraintException": "row",
    "ConversionException": "row",
    "OutOfRangeException": "row",
    "DataError": "row",
    "IntegrityError": "row",
    "IOException": "time",
    "TransactionException": "time",
    "OutOfMemoryException": "time",
    "ConnectionException": "time",
    "BinderException": "schema",
    "CatalogException": "schema",
    "DependencyException": "schema",
}


def duckdb_fault_of(error: BaseException) -> Fault | None:
    """What an error means; one of PostgreSQL too, as the state tables are there."""
    kind = type(error)
    if not kind.__module__.startswith(("duckdb", "_duckdb")):
        return fault_of(error)
    return Fault(None, _BLAMES.get(kind.__name__, "person"), f"DuckDB refuses it ({kind.__name__})")


def why_busy(error: BaseException) -> str | None:
    """Why a file could not be opened, if another attempt soon may open it: one process writes at a time."""
    is_locked = type(error).__name__ == "IOException" and "lock" in str(error)
    return "another process has the file open" if is_locked else None

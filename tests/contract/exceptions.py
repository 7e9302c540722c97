"""The promises, and where a system keeps one otherwise than the rest: docs/sources.md and destinations.md show them."""

from __future__ import annotations

SOURCE_PROMISES: dict[str, str] = {
    "windows tile": "no row falls between two windows, and no watermark moves backwards",
    "late commits": "a row that is committed late is not passed over",
    "ties at the boundary": "rows of one cursor value are not parted",
    "NULL cursors": "rows without a cursor are included, excluded or refused, as asked",
    "resume": "a retry goes on after the last complete chunk",
    "types exact": "every value arrives as it is",
    "queries": "a query is read like a table, with the types of its columns",
    "schema contracts": "new columns are added, refused or left out, as asked",
    "wrong names": "a wrong table, column or bound is refused in one sentence",
    "dry run": "a plan tells statements and rows",
}
DESTINATION_PROMISES: dict[str, str] = {
    "idempotent replay": "loading again changes nothing, nor does a load that is cut off",
    "newest run": "an older run of a sync, slow to die, loads nothing over a newer one's rows",
    "conflict strategies": "`source_wins`, `dest_wins`, `latest_wins`, `merge_non_null`",
    "types exact": "every value is held as it is, or its row is refused",
    "schema contracts": "new columns are added, refused or left out, as asked",
    "failed records": "rows that cannot be loaded are set aside within the limit",
    "counts": "every row is counted once",
}

SOURCE_EXCEPTIONS: dict[tuple[str, str], str] = {
    ("mariadb", "late commits"): "within `lag`; without one, 5 minutes or 1,000 numbers",
    ("sqlite", "late commits"): "within `lag`; without one, 5 minutes; numbers need none",
    ("sqlalchemy", "late commits"): "within `lag`; without one, 5 minutes or 1,000 numbers",
    ("http", "late commits"): "within `lag`; without one, 5 minutes or 1,000 numbers",
    ("http", "NULL cursors"): "those records that the API gives for the window",
    ("http", "resume"): "by number, offset and token; by links a retry begins anew",
    ("http", "types exact"): "given in `column_types`, else told from the first records",
    ("http", "queries"): "an endpoint is read",
    ("http", "wrong names"): "a wrong column is told once there is a record",
    ("http", "dry run"): "the request, and how many records its first page has",
    ("sqlite", "queries"): "types told from its first 1,000 rows",
    ("sqlalchemy", "queries"): "types told from its first 1,000 rows",
    ("files", "late commits"): "yes, for files; of more than 2,000, among the last 2,000",
    ("files", "NULL cursors"): "every file has a time and a name",
    ("files", "queries"): "none; a pattern matches files, and `columns` chooses columns",
}
"""By system and promise of a source, what holds instead. All that is not named here holds everywhere."""

DESTINATION_EXCEPTIONS: dict[tuple[str, str], str] = {
    ("postgres", "newest run"): "by a lock in the state tables",
    ("mariadb", "types exact"): "no NaN, infinity, nor more than 35 digits before the point and 30 behind it",
    ("sqlite", "types exact"): "no NaN; numbers with a point, and times, are texts",
    ("sqlalchemy", "schema contracts"): "no column is widened",
    ("delta", "types exact"): "no infinite date, no NaN in a decimal; times and boundless `numeric` are texts",
    ("delta", "schema contracts"): "no column is widened",
    ("duckdb", "types exact"): "no infinite date, no NaN in a decimal; times and boundless `numeric` are texts",
    ("snowflake", "types exact"): "as DuckDB; -0.0 counts as 0.0",
    ("snowflake", "schema contracts"): "of the columns only numbers are widened",
    ("bigquery", "types exact"): "as DuckDB; -0.0 counts as 0.0",
    ("bigquery", "schema contracts"): "of the columns only numbers are widened",
    ("parquet", "idempotent replay"): "each chunk is added once; what a later run reads again is added again",
    ("parquet", "newest run"): "the rows of both are added",
    ("parquet", "conflict strategies"): "none: all rows are added, and a strategy is refused",
    ("parquet", "types exact"): "no infinite date, no NaN in a decimal; times and boundless `numeric` are texts",
    ("parquet", "schema contracts"): "each file has the columns of its chunk; all but `evolve` are refused",
    ("parquet", "failed records"): "yes; no newer row settles one, and none lacks a key",
}
"""The same for a destination."""

"""A file of DuckDB, an embedded warehouse."""

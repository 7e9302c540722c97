"""The demonstration: a shop and a warehouse on an embedded PostgreSQL, kept in step by Airflow itself."""

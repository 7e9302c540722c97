"""Tables of BigQuery, a warehouse."""

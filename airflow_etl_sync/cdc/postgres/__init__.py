"""Changes of PostgreSQL, as a replication slot tells them, and as NOTIFY announces them."""

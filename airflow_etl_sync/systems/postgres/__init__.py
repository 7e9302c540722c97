"""PostgreSQL 13 and later, as source and as destination."""

"""Any database that SQLAlchemy speaks, as a source."""

"""The state of all syncs, in schema ``etl_sync`` of the destination database."""

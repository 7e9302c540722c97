"""Delta Lake tables, on local disk and on S3."""

"""Plain Parquet files in a lake, to which rows are only ever added."""

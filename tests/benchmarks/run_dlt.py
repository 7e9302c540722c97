"""dlt on the same table, in an environment of its own: it imports nothing else of this repository."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import dlt
from dlt.destinations import postgres
from dlt.sources.sql_database import sql_table


def main() -> None:
    orders: dict[str, Any] = json.load(sys.stdin)
    answers, sys.stdout = sys.stdout, sys.stderr
    pipeline = dlt.pipeline(
        "benchmark",
        pipelines_dir=orders["folder"],
        destination=postgres(credentials=orders["target"]),
        dataset_name="public",
        progress=None,
    )
    table = sql_table(
        credentials=orders["source"].replace("postgresql://", "postgresql+psycopg2://", 1),
        table="measurement",
        backend="pyarrow",
        chunk_size=100_000,
        reflection_level="full_with_precision",
        incremental=dlt.sources.incremental("updated_at"),
    )
    table.apply_hints(primary_key="id", write_disposition={"disposition": "merge", "strategy": "upsert"})
    began = time.monotonic()
    pipeline.run(table, loader_file_format="parquet")
    json.dump({"seconds": time.monotonic() - began}, answers)


if __name__ == "__main__":
    main()

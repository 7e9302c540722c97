"""Where a stream can be cut into ranges of its cursor that hold about as many rows each."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composed, Literal

from airflow_etl_sync.core.model import Stream
from airflow_etl_sync.systems.postgres.sql.names import all_of
from airflow_etl_sync.systems.postgres.sql.reading import comparisons
from airflow_etl_sync.systems.postgres.sql.streams import author_condition, relation, source_column

ESTIMATED_ROWS = SQL("""
SELECT reltuples::bigint
FROM pg_class
WHERE oid = to_regclass(%(relation)s) AND relkind IN ('r', 'p', 'm')
""")
"""What the last ANALYZE has counted; of a view and the like nothing, since no sample can be taken of it."""


def find_bounds(stream: Stream, cursor_type: str, bounds: Sequence[str], percent: float | None, parts: int) -> Composed:
    """The values at which the rows of a window are to be cut, in order.

    :param bounds: names those of low and below that are set
    :param percent: how much of the table's pages is looked at; None looks at all rows
    """
    sample = SQL("") if percent is None else SQL(" TABLESAMPLE SYSTEM ({})").format(Literal(percent))
    cursor = source_column(stream.cursor_field)
    conditions = [*author_condition(stream), SQL("{} IS NOT NULL").format(cursor)]
    return SQL("""SELECT cut.bound::text
FROM (
    SELECT unnest(percentile_disc({fractions}) WITHIN GROUP (ORDER BY {cursor})) AS bound
    FROM {relation}{sample}
    WHERE {conditions}
) AS cut
WHERE cut.bound IS NOT NULL
GROUP BY cut.bound
ORDER BY cut.bound""").format(
        fractions=Literal([part / parts for part in range(1, parts)]),
        cursor=cursor,
        relation=relation(stream),
        sample=sample,
        conditions=all_of([*conditions, *comparisons(cursor, cursor_type, bounds)]),
    )

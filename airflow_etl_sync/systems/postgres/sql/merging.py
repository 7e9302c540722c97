"""Staged rows into the target, with exact counts."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier

from airflow_etl_sync.core.keys import SOFT_DELETED
from airflow_etl_sync.core.model import LoadRules, TableName
from airflow_etl_sync.systems.postgres.sql.names import STATE_SCHEMA, all_of, column_list, identifier


def merge(
    table: TableName,
    staging: str,
    expressions: Sequence[tuple[str, Composable]],
    key: Sequence[str],
    newest_first: Sequence[str],
    rules: LoadRules,
    *,
    has_identity: bool,
    is_partitioned: bool,
    within: Composable | None = None,
    revives: bool = False,
) -> Composed:
    """Merge the staged rows into the target, and count the rows inserted and updated.

    Rows go in in the order of the key, so that parallel merges lock in one order. Of several rows of one key
    the one with the highest value in ``newest_first`` wins, among equals the last staged (``ctid`` grows along a
    single COPY).

    :param within: a condition that takes only some of the staged rows
    :param revives: whether the target can flag rows as deleted: over such a row any incoming row wins, whole
    """
    names = [name for name, _ in expressions]
    return SQL("""WITH source AS (
    SELECT DISTINCT ON ({key}) {names}
    FROM (
        SELECT {expressions}, staged.ctid AS {place}
        FROM {staging} AS staged{within}
    ) AS staged
    ORDER BY {key}{newest}, {place} DESC
), merged AS (
    INSERT INTO {target} AS target ({written})
    {overriding}SELECT {values}
    FROM source
    ON CONFLICT ({key}) {resolution}
    RETURNING {returned}
)
{counts}""").format(
        key=column_list(key),
        place=Identifier(_free_name("etl_sync.place", names)),
        names=column_list(names),
        expressions=_named(expressions),
        staging=Identifier(STATE_SCHEMA, staging),
        within=SQL("") if within is None else SQL("\n        WHERE {}").format(within),
        newest=SQL("").join(SQL(", {} DESC NULLS LAST").format(Identifier(name)) for name in newest_first),
        target=identifier(table),
        written=column_list([*names, *_managed(rules)]),
        values=SQL(", ").join([*(Identifier("source", name) for name in names), *_managed_values(rules)]),
        overriding=_OVERRIDING if has_identity else SQL(""),
        resolution=_resolution(names, key, rules, revives=revives),
        returned=_key_of_target(key) if is_partitioned else SQL("xmax = 0 AS is_new"),
        counts=_counts_by_key(table, key) if is_partitioned else _COUNTS,
    )


def insert(
    table: TableName,
    staging: str,
    expressions: Sequence[tuple[str, Composable]],
    rules: LoadRules,
    *,
    has_identity: bool,
) -> Composed:
    """Insert the staged rows as they come, which fails where one is there already; count them, and no updates."""
    return SQL("""WITH inserted AS (
    INSERT INTO {target} ({written})
    {overriding}SELECT {values}
    FROM {staging} AS staged
    RETURNING 1
)
SELECT count(*), 0
FROM inserted""").format(
        target=identifier(table),
        written=column_list([*(name for name, _ in expressions), *_managed(rules)]),
        overriding=_OVERRIDING if has_identity else SQL(""),
        values=SQL(", ").join([*(expression for _, expression in expressions), *_managed_values(rules)]),
        staging=Identifier(STATE_SCHEMA, staging),
    )


def find_any(table: TableName, staging: str, key: Sequence[tuple[str, Composable]]) -> Composed:
    """Whether any of the first staged rows is in the target."""
    same = [SQL("{} = {}").format(Identifier("target", name), Identifier("source", name)) for name, _ in key]
    return SQL("""SELECT EXISTS (
    SELECT FROM (SELECT {key} FROM {staging} AS staged LIMIT 100) AS source
    JOIN {target} AS target ON {same}
)""").format(key=_named(key), staging=Identifier(STATE_SCHEMA, staging), target=identifier(table), same=all_of(same))


_OVERRIDING = SQL("OVERRIDING SYSTEM VALUE\n    ")


def _named(expressions: Sequence[tuple[str, Composable]]) -> Composed:
    return SQL(", ").join(SQL("{} AS {}").format(expression, Identifier(name)) for name, expression in expressions)


def _managed(rules: LoadRules) -> list[str]:
    return [rules.synced_at_column] if rules.synced_at_column else []


def _managed_values(rules: LoadRules) -> list[Composable]:
    return [SQL("now()") for _ in _managed(rules)]


CHECK_CONSTRAINTS = SQL("SET CONSTRAINTS ALL IMMEDIATE")
"""Ask at once what a deferred constraint would only ask at the commit, when nothing can be set aside any more."""


def _free_name(wanted: str, taken: Sequence[str]) -> str:
    return _free_name(f"{wanted}_", taken) if wanted in taken else wanted


# a row that was there had to be locked, which its successor's xmax still shows
_COUNTS = SQL("""SELECT
    count(*) FILTER (WHERE is_new),
    count(*) FILTER (WHERE NOT is_new)
FROM merged""")


def _counts_by_key(table: TableName, key: Sequence[str]) -> Composed:
    """Partitioned tables return no xmax. This query still sees the target as it was before the merge."""
    same_key = SQL(" AND ").join(
        SQL("{} = {}").format(Identifier("before", name), Identifier("merged", name)) for name in key
    )
    return SQL("""SELECT
    count(*) FILTER (WHERE before.tableoid IS NULL),
    count(*) FILTER (WHERE before.tableoid IS NOT NULL)
FROM merged
LEFT JOIN {} AS before ON {}""").format(identifier(table), same_key)


def _key_of_target(key: Sequence[str]) -> Composed:
    return SQL(", ").join(Identifier("target", name) for name in key)


def _resolution(names: Sequence[str], key: Sequence[str], rules: LoadRules, *, revives: bool) -> Composable:
    """What happens to a row that is there already."""
    others = [name for name in names if name not in key]
    stays = rules.conflict == "dest_wins" or not others
    if stays and not revives:
        return SQL("DO NOTHING")
    new = {name: _new_value(name, rules, revives=revives) for name in others}
    changes = [SQL("{} = {}").format(Identifier(name), value) for name, value in new.items()]
    if rules.synced_at_column:
        changes.append(SQL("{} = now()").format(Identifier(rules.synced_at_column)))
    if revives:
        changes.append(SQL("{} = FALSE").format(Identifier(SOFT_DELETED)))
    condition = _is_flagged() if stays else _is_to_change(new, rules)
    if revives and not stays:
        condition = SQL("{}\n        OR {}").format(_is_flagged(), condition)
    return SQL("DO UPDATE SET\n        {}\n    WHERE {}").format(SQL(",\n        ").join(changes), condition)


def _is_to_change(new: dict[str, Composable], rules: LoadRules) -> Composable:
    """Whether a row that is there already differs from the incoming one, which may overwrite it."""
    differs = SQL("ROW({})::record *<> ROW({})::record").format(
        SQL(", ").join(new.values()), SQL(", ").join(Identifier("target", name) for name in new)
    )
    if rules.conflict == "latest_wins" and rules.conflict_field:
        return SQL("{}\n        AND {}").format(_is_as_new(rules.conflict_field), differs)
    return differs


def _is_flagged() -> Composed:
    return SQL("{} IS TRUE").format(Identifier("target", SOFT_DELETED))


def _new_value(name: str, rules: LoadRules, *, revives: bool) -> Composable:
    incoming = Identifier("excluded", name)
    if rules.conflict != "merge_non_null":
        return incoming
    kept = SQL("coalesce({}, {})").format(incoming, Identifier("target", name))
    return SQL("CASE WHEN {} THEN {} ELSE {} END").format(_is_flagged(), incoming, kept) if revives else kept


def _is_as_new(field: str) -> Composed:
    """A row without the field is older than any other."""
    return SQL("({target} IS NULL OR {incoming} >= {target})").format(
        target=Identifier("target", field), incoming=Identifier("excluded", field)
    )

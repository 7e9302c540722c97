"""Which changes are captured, in which order tables are written, and what their terms may say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_etl_sync.cdc.tables import CdcCounts, CdcTable, SourceTable
from airflow_etl_sync.cdc.targets import _parents_first
from airflow_etl_sync.cdc.wanted import Wanted
from airflow_etl_sync.core.changes import Insert, Relation, RelationColumn, Truncate
from airflow_etl_sync.core.model import LoadRules, TableName
from airflow_etl_sync.errors import ConfigurationError, SchemaError

COLUMNS = (RelationColumn("id", is_key=True, type_oid=20, type_modifier=-1),)
T, LEAF, OTHER = (Relation(n, "public", name, "d", COLUMNS) for n, name in enumerate(("t", "leaf", "other")))


def table(name: str = "t", target: str | None = None) -> SourceTable:
    terms = CdcTable(source=TableName(name), target=TableName(target or name), rules=LoadRules(), primary_key=("id",))
    return SourceTable(terms, f"public.{name}", frozenset({"public.leaf"}), {})


def test_changes_of_other_tables_are_left_out() -> None:
    wanted = Wanted([table()])
    assert wanted.of(Insert(T, ("1",))) == Insert(T, ("1",))
    assert wanted.of(Insert(OTHER, ("1",))) is None
    assert wanted.of(Truncate((OTHER, T))) == Truncate((T,))
    assert wanted.of(Truncate((OTHER,))) is None


def test_changes_of_a_partition_are_no_changes_of_its_table() -> None:
    with pytest.raises(SchemaError, match="publish_via_partition_root"):
        Wanted([table()]).of(Insert(LEAF, ("1",)))


def test_a_table_that_was_renamed_is_asked_about_by_its_new_name() -> None:
    wanted = Wanted([table()])
    assert wanted.of(Insert(T, ("1",))) is not None
    assert wanted.of(Insert(replace(T, name="renamed"), ("1",))) is None


@pytest.mark.parametrize("tables", [[table(), table()], [table("a", "t"), table("b", "t")]])
def test_two_tables_do_not_share_a_target(tables: list[SourceTable]) -> None:
    with pytest.raises(ConfigurationError, match="give each its own"):
        Wanted(tables)


def test_terms_that_cannot_be() -> None:
    name = TableName("t")
    with pytest.raises(ConfigurationError, match="delete 'gone'"):
        CdcTable(source=name, target=name, rules=LoadRules(), delete="gone")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="needs conflict_field"):
        CdcTable(source=name, target=name, rules=LoadRules(conflict="latest_wins"))
    with pytest.raises(ConfigurationError, match="apply 'append'"):
        CdcTable(source=name, target=name, rules=LoadRules(), apply="append")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="leave out delete"):
        CdcTable(source=name, target=name, rules=LoadRules(), apply="history", delete="soft")
    for rules in (LoadRules(conflict="dest_wins"), LoadRules(conflict_field="at")):
        with pytest.raises(ConfigurationError, match="leave out conflict"):
            CdcTable(source=name, target=name, rules=rules, apply="history")


def test_rows_of_a_history_are_named_by_their_place_and_never_overwritten() -> None:
    rules = LoadRules(primary_key=("id",), max_errors=3, synced_at_column="at")
    history = CdcTable(source=TableName("t"), target=TableName("t"), rules=rules, apply="history")
    assert history.key == ("id",)
    assert history.landing_rules == replace(rules, primary_key=("_sync_lsn", "_sync_sequence"), conflict="dest_wins")
    assert replace(history, apply="upsert").landing_rules == rules


@pytest.mark.parametrize(
    ("parents", "order"),
    [
        ({0: {1}, 1: {2}, 2: set()}, [2, 1, 0]),
        ({0: set(), 1: {0}, 2: {0, 1}}, [0, 1, 2]),
        ({0: {1}, 1: {0}, 2: {0}}, [0, 1, 2]),
    ],
)
def test_parents_come_first_as_far_as_there_is_such_an_order(parents: dict[int, set[int]], order: list[int]) -> None:
    assert _parents_first(parents) == order


def test_counts_add_up() -> None:
    total = CdcCounts(changes=3, inserted=1, deleted=2) + CdcCounts(changes=1, updated=1, transactions=1)
    assert total.to_json() == {
        "changes": 4, "inserted": 1, "updated": 1, "skipped": 0, "deleted": 2, "truncated": 0, "errors": 0,
        "transactions": 1,
    }  # fmt: skip
    assert total.rows.processed == 2

"""Act three: changes as the shop's log tells them, with deletes, changed keys and TRUNCATE, which no cursor shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
from airflow_etl_sync.demo.captured import Captured, read_captured, table_of
from airflow_etl_sync.demo.changes import TradingDay
from airflow_etl_sync.demo.comparison import Comparison, compare
from airflow_etl_sync.demo.stage import CAPTURED, SLOT
from airflow_etl_sync.systems.postgres.access import PostgresAccess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_etl_sync.demo.shop import Shop
    from airflow_etl_sync.demo.stage import Play

CDC_DAG = "orders_by_cdc"


def capture_twice(play: Play, shop: Shop) -> bool:
    """Copy tables, change them in every way, apply the changes, and tell whether both sides agree."""
    first = _run(play, "Make publication and slot, copy four tables")
    day = _trading_day(play, shop)
    second = _run(play, "Apply what the log tells")
    play.steps.console.print(table_of(first, second))
    note = "The log is the server's: here it also holds what Airflow and the warehouse write."
    play.steps.console.print(note, highlight=False, soft_wrap=True)
    with play.steps.step(f"Compare {', '.join(CAPTURED)} row by row"):
        comparisons = compare_captured(play.stage.shop, play.stage.warehouse)
    rows = sum(each.source_rows for each in comparisons.values())
    return play.judge(
        complaints_about(first, second, day, comparisons),
        f"{rows:,} rows, the same on both sides; the second run inserted {second.inserted:,}, updated "
        f"{second.updated:,} and deleted {second.deleted:,} rows: what the shop did, and nothing else.",
    )


def tear_down(play: Play) -> bool:
    """Drop slot and publication, and tell whether the source keeps its log no longer."""
    slot = ReplicationSlot(PostgresAccess(play.stage.shop), SLOT, SLOT)
    with play.steps.step("Drop slot and publication, so that the source keeps its log no longer"):
        torn = slot.tear_down()
    is_gone = torn.has_dropped_slot and torn.has_dropped_publication
    return is_gone or play.judge(["slot or publication was gone before"], "")


def _run(play: Play, title: str) -> Captured:
    run_id = play.run(CDC_DAG, title)
    return read_captured(play.stage.warehouse, run_id, play.api.returned(CDC_DAG, run_id, "capture"))


def _trading_day(play: Play, shop: Shop) -> TradingDay:
    with play.steps.step("Change the shop, and delete"):
        day = shop.trade()
    play.tell(
        f"{day.count('inserted'):,} rows inserted, {day.count('updated'):,} updated, {day.count('deleted'):,} deleted, "
        f"and {day.count('emptied'):,} more by TRUNCATE;"
    )
    play.tell(
        f"{day.renumbered:,} got another key, which counts as deleted and inserted; "
        f"{day.lean:,} have a long value that the log leaves out"
    )
    return day


def complaints_about(
    first: Captured, second: Captured, day: TradingDay, comparisons: Mapping[str, Comparison]
) -> list[str]:
    """Name what is not as the shop's changes ask for; nothing where all is right."""
    rows_now = sum(each.source_rows for each in comparisons.values())
    rows_before = rows_now - day.count("inserted") + day.count("deleted") + day.count("emptied")
    complaints = [f"first run: {text}" for text in first.surprises(TradingDay(), copied=rows_before)]
    complaints += [f"second run: {text}" for text in second.surprises(day, copied=0)]
    for table, comparison in comparisons.items():
        complaints += [f"{table}: {text}" for text in comparison.complaints()]
    return complaints


def compare_captured(shop: str, warehouse: str) -> dict[str, Comparison]:
    """Compare each captured table with its copy, by the table's name.

    :param shop: conninfo of the source
    :param warehouse: conninfo of the destination
    """
    return {
        table: compare(
            shop,
            warehouse,
            source_query=f"TABLE public.{table}",
            destination_table=("public", copy),
            key="id",
            leave_out="synced_at",
        )
        for table, copy in CAPTURED.items()
    }

"""Records that a function gives, loaded into other systems than PostgreSQL, which keeps their watermark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from airflow_etl_sync.core.model import LoadRules, RunIdentity
from airflow_etl_sync.core.records import RecordRules
from airflow_etl_sync.journey.records import FunctionError, load_records
from airflow_etl_sync.state import watermarks
from airflow_etl_sync.systems.base import TypedDestination
from tests.contract.systems import DeltaSystem, DestinationSystem, DuckDbSystem, MariaDbSystem, SqliteSystem
from tests.contract.test_parquet import ParquetSystem
from tests.mariadb import new_mariadb

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)


@dataclass
class Target:
    """A table elsewhere, and runs of one task that loads records into it."""

    system: DestinationSystem
    runs: int = 0
    handed: list[Any] = field(default_factory=list)

    def load(self, records: Any, *, is_retry: bool = False, **rules: Any) -> tuple[int, ...]:
        """Give records; how many were inserted, updated, skipped and set aside."""
        self.runs += not is_retry

        def give(watermark: Any) -> Any:
            self.handed.append(watermark)
            return records

        counts = load_records(
            give, cast("TypedDestination", self.system.destination("t")),
            rules=RecordRules(sync_key="records", **rules),
            load_rules=LoadRules(primary_key=("id",)), identity=RunIdentity("dag", "task", f"run {self.runs}"),
            chunk_rows=2, try_number=1 + is_retry,
        ).counts  # fmt: skip
        return counts.inserted, counts.updated, counts.skipped, counts.errors

    @property
    def watermark(self) -> str | None:
        """Its text; None before a run has ended."""
        with self.system.destination("t").engine.begin() as connection:
            cursor = watermarks.read(connection, "records").cursor
        return cursor.text if cursor else None


@pytest.fixture(params=["mariadb", "sqlite", "duckdb", "delta", "parquet"])
def target(request: pytest.FixtureRequest, new_database: Callable[[str], str], tmp_path: Path) -> Iterator[Target]:
    state, path = new_database("state"), tmp_path / "there"
    systems: dict[str, Callable[[Path, str], Any]] = {
        "sqlite": SqliteSystem, "duckdb": DuckDbSystem, "delta": DeltaSystem, "parquet": ParquetSystem,
    }  # fmt: skip
    with ExitStack() as stack:
        if request.param == "mariadb":
            yield Target(MariaDbSystem(stack.enter_context(new_mariadb()), state))
        else:
            yield Target(systems[request.param](path, state))


def record(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number, "at": AT + timedelta(seconds=number), "day": date(2026, 1, 2), "is_good": True, "size": 0.5,
        "price": Decimal("12345678901234567890.10"), "name": "żółw 🐢 ", "told": [1, {"a": None}], **changes,
    }  # fmt: skip


def is_keyed(target: Target) -> bool:
    return not isinstance(target.system, ParquetSystem)


def test_records_of_every_kind_land_and_the_second_time_change_nothing(target: Target) -> None:
    assert target.load([record(1), record(2), record(3)], cursor_field="at") == (3, 0, 0, 0)
    assert target.watermark == "2026-01-02 03:04:08.000678+00"
    again = target.load([record(2, name="new"), record(3), record(4)], cursor_field="at")
    assert again == ((1, 1, 1, 0) if is_keyed(target) else (3, 0, 0, 0))
    assert target.handed == [None, AT + timedelta(seconds=3)]
    found = {(row[0], row[6]) for row in target.system.rows("t")}
    assert found >= {(1, "żółw 🐢 "), (2, "new"), (3, "żółw 🐢 "), (4, "żółw 🐢 ")}
    assert {str(row[5]).rstrip("0") for row in target.system.rows("t")} == {"12345678901234567890.1"}


def test_nothing_where_there_was_something_is_written(target: Target) -> None:
    """Of values that are all None no type can be told, but that of the table."""
    target.load([record(1), record(2)])
    nothing = dict.fromkeys(record(1), None)
    counts = target.load([{**nothing, "id": 1}, {**nothing, "id": 2}])
    if is_keyed(target):
        assert counts == (0, 2, 0, 0)
        assert [row[1:] for row in target.system.rows("t")] == [(None,) * 7] * 2


def test_a_column_keeps_its_type_where_other_values_come(target: Target) -> None:
    rules: dict[str, Any] = (
        {} if is_keyed(target) else {"column_types": {"n": "numeric(10,2)"}}
    )  # a file knows no other's types
    target.load([{"id": 1, "n": 0.5, "s": "a"}], **rules)
    later = [{"id": 2, "n": 7, "s": "b"}, {"id": 3, "n": Decimal("0.25"), "s": "c"}]
    assert target.load(later, **rules) == (2, 0, 0, 0)
    assert [float(row[1]) for row in target.system.rows("t")] == [0.5, 7.0, 0.25]


def test_a_retry_goes_on_with_what_has_landed(target: Target) -> None:
    def breaking() -> Iterator[dict[str, Any]]:
        yield from [record(1), record(2), record(3)]
        raise ConnectionResetError

    with pytest.raises(FunctionError):
        target.load(breaking(), cursor_field="at")
    assert target.watermark is None
    counts = target.load([record(1), record(2), record(3)], is_retry=True, cursor_field="at")
    assert counts == ((3, 0, 2, 0) if is_keyed(target) else (5, 0, 0, 0))
    assert {row[0] for row in target.system.rows("t")} == {1, 2, 3}
    assert target.watermark == "2026-01-02 03:04:08.000678+00"

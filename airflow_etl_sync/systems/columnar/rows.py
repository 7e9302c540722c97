"""A chunk on its way into a table: rows that cannot be loaded are set aside, and of one key the newest stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.core.failed_record import FailedRecord, Key
from airflow_etl_sync.core.model import Counts, LoadRules
from airflow_etl_sync.errors import ConfigurationError, DataError, DestinationError, SchemaError
from airflow_etl_sync.systems.base import Merged, MergeKeys, Tolerance
from airflow_etl_sync.systems.columnar.fitting import Fit, Widens, fit, refuse_bad_rules
from airflow_etl_sync.systems.columnar.landing import landed, text
from airflow_etl_sync.systems.columnar.newest import any_of, by_value, in_one, newest

if TYPE_CHECKING:
    import pyarrow as pa

NO_KEY = "NULL in the key"

Misfits = Callable[[str, "pa.Array"], "Iterable[tuple[str, pa.Array]]"]
"""Why values that are ready for a column cannot go into it all the same, and which of them."""


def no_misfits(name: str, values: pa.Array) -> Iterable[tuple[str, pa.Array]]:  # noqa: ARG001
    """Of a system whose columns hold whatever their Arrow types hold."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Rows that can be loaded, and what became of the rest of their chunk.

    :param table: each key once, in the types of the table's columns
    :param key: the columns that name a record
    :param rules: with the conflict field that is meant
    :param rows: how many rows the chunk has
    :param failed: those that were set aside
    :param settled: those of the watched keys of which a row can be loaded
    """

    table: pa.Table
    key: tuple[str, ...]
    rules: LoadRules
    fitted: Fit
    rows: int
    failed: tuple[FailedRecord, ...]
    settled: tuple[Key, ...]

    def merged(self, inserted: int, updated: int) -> Merged:
        """What the merge came to, where so many rows were written."""
        skipped = self.rows - inserted - updated - len(self.failed)
        counts = Counts(inserted, updated, skipped, len(self.failed))
        return Merged(counts, self.failed, self.fitted.changes, self.settled)

    def with_time(self) -> pa.Table:
        """The rows, with the column that says when they were loaded where there is to be one."""
        import pyarrow as pa

        name = self.rules.synced_at_column
        if name is None:
            return self.table
        now = pa.scalar(datetime.now(timezone.utc), pa.timestamp("us", "UTC"))
        return self.table.append_column(name, pa.repeat(now, self.table.num_rows))


def refuse_lacking(
    target: str, columns: Mapping[str, pa.DataType], required: Sequence[str], source: pa.Table, rules: LoadRules
) -> None:
    """Refuse what the table and the rows lack of each other.

    :param columns: the table's columns; empty where there is no table yet
    :raises SchemaError: naming the column
    """
    if columns and rules.synced_at_column and rules.synced_at_column not in columns:
        raise SchemaError(
            f"The table {target!r} has no column {rules.synced_at_column} to be synced_at_column: add it."
        )
    missing = [name for name in required if name not in source.column_names]
    if missing:
        raise SchemaError(
            f"Column {', '.join(missing)} of {target!r} takes no NULL, and the stream does not have it: let it be NULL."
        )


def make_ready(
    target: str,
    columns: Mapping[str, pa.DataType],
    required: Sequence[str],
    staged: pa.Table,
    rows: int,
    keys: MergeKeys,
    rules: LoadRules,
    tolerance: Tolerance,
    widens: Widens,
    misfits: Misfits = no_misfits,
    *,
    is_keyed: bool = True,
) -> Ready:
    """Make the rows of a chunk ready for a table.

    :param columns: the table's columns; empty where there is no table yet
    :param required: those of them that take no NULL
    :param rows: how many rows must be staged
    :param misfits: which values the system refuses beside those that are not the same in a column's Arrow type
    :param is_keyed: whether a row needs a key, and replaces others of it
    :raises DataError: where more rows cannot be loaded than are tolerated
    :raises EtlSyncError: as :mod:`~airflow_etl_sync.systems.columnar.fitting` does
    """
    if staged.num_rows != rows:
        raise DestinationError(
            f"{staged.num_rows} of {rows} rows are staged for {target!r}: a retry stages them again."
        )
    key = (rules.primary_key or keys.primary_key) if is_keyed else ()
    rules = replace(rules, conflict_field=rules.conflict_field or keys.cursor_field)
    refuse_bad_rules(target, staged.schema, key, rules)
    fitted = fit(target, columns, staged.schema, key, rules, _Fits(staged), widens)
    chunk = _Chunk(target, staged, key, fitted, tolerance, misfits)
    chunk.refuse_unordered(rules)
    table, failed = chunk.parted([*required, *key])
    latest = newest(table, key, chunk.order(table, rules, keys)) if key else table
    return Ready(
        table=latest.select(list(fitted.written)),
        key=key,
        rules=rules,
        fitted=fitted,
        rows=rows,
        failed=tuple(failed),
        settled=chunk.settled(failed),
    )


@dataclass(frozen=True, slots=True)
class _Fits:
    staged: pa.Table

    def __call__(self, field: pa.Field, into: pa.DataType) -> bool:
        column = self.staged.column(field.name)
        return bool(landed(column, field, into).null_count == column.null_count)


@dataclass(frozen=True, slots=True)
class _Chunk:
    target: str
    staged: pa.Table
    key: tuple[str, ...]
    fitted: Fit
    tolerance: Tolerance
    misfits: Misfits

    def refuse_unordered(self, rules: LoadRules) -> None:
        """:raises ConfigurationError: where the newer of two rows would be told by numbers compared as texts"""
        import pyarrow as pa

        name = rules.conflict_field
        if rules.conflict != "latest_wins" or name is None or name not in self.fitted.written:
            return
        if self._is_numeric(name) and pa.types.is_string(self.fitted.written[name]):
            raise ConfigurationError(
                f"{name!r} is kept as text in {self.target!r}, as it is a numeric without precision, so latest_wins "
                "cannot compare it: convert it to numeric(38, s) at the source, or name another conflict_field."
            )

    def _is_numeric(self, name: str) -> bool:
        return types_of(self.staged.schema.field(name)).base.startswith("numeric")

    def parted(self, required: Sequence[str]) -> tuple[pa.Table, list[FailedRecord]]:
        """The rows that can be loaded, landed, with the staged columns that are not; and the others."""
        import pyarrow as pa
        import pyarrow.compute as pc

        arrays = {name: self._landed(name, into) for name, into in self.fitted.written.items()}
        errors: list[tuple[str, pa.Array]] = []
        if self.key:
            errors.append((NO_KEY, any_of([pc.is_null(self.staged.column(name)) for name in self.key])))
        for name in self.fitted.refused:
            why = f"column {name} is not in the table, and schema_contract is 'discard_row'"
            errors.append((why, in_one(pc.is_valid(self.staged.column(name)))))
        for name, array in arrays.items():
            is_bent = pc.and_(pc.is_null(array), in_one(pc.is_valid(self.staged.column(name))))
            errors.append((f"column {name}: the value is not the same as {self.fitted.written[name]}", is_bent))
            errors += [(f"column {name}: {why}", which) for why, which in self.misfits(name, array)]
            if name in required:
                errors.append((f"column {name}: NULL, which the table does not take", pc.is_null(array)))
        table = pa.table({**arrays, **self._more(arrays)})
        is_bad = any_of([which for _, which in errors]) if errors else None
        if is_bad is None or not pc.any(is_bad).as_py():
            return table, []
        self._refuse_too_many(errors, pc.sum(is_bad).as_py())
        return table.filter(pc.invert(is_bad)), self._records(errors, is_bad)

    def _landed(self, name: str, into: pa.DataType) -> pa.Array:
        return landed(self.staged.column(name), self.staged.schema.field(name), into)

    def _more(self, arrays: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
        """Columns that are left out may still tell the newer of two rows."""
        names = [name for name in self.staged.schema.names if name not in arrays]
        return {name: in_one(self.staged.column(name)) for name in names}

    def _refuse_too_many(self, errors: list[tuple[str, pa.Array]], count: int) -> None:
        import pyarrow.compute as pc

        if count <= self.tolerance.errors:
            return
        reasons = "; ".join(f"{why}: {rows}" for why, which in errors if (rows := pc.sum(which).as_py()))
        raise DataError(
            f"{count} rows of one chunk for {self.target!r} cannot be loaded ({reasons}), and only "
            f"{self.tolerance.errors} may be set aside: mend them at the source, leave them out with where, or raise "
            "max_errors or max_error_percent. The chunk is not loaded."
        )

    def _records(self, errors: list[tuple[str, pa.Array]], is_bad: pa.Array) -> list[FailedRecord]:
        import pyarrow.compute as pc

        records = []
        for place in pc.indices_nonzero(is_bad).to_pylist():
            payload = {name: self._text(name, place) for name in self.staged.schema.names}
            records.append(
                FailedRecord(
                    key=tuple(payload[name] for name in self.key),
                    payload=payload,
                    types={field.name: types_of(field) for field in self.staged.schema},
                    error="; ".join(why for why, which in errors if which[place].as_py()),
                )
            )
        return records

    def _text(self, name: str, place: int) -> str | None:
        return text(self.staged.column(name)[place], self.staged.schema.field(name))

    def order(self, table: pa.Table, rules: LoadRules, keys: MergeKeys) -> list[pa.Array]:
        """What tells the newer of two rows of one key, the most telling first."""
        names = [keys.cursor_field]
        if rules.conflict == "latest_wins" and rules.conflict_field:
            names.insert(0, rules.conflict_field)
        known = [name for name in dict.fromkeys(names) if name in table.column_names]
        return [by_value(table.column(name)) if self._is_numeric(name) else table.column(name) for name in known]

    def settled(self, failed: Sequence[FailedRecord]) -> tuple[Key, ...]:
        watched = {key for key in self.tolerance.watched if len(key) == len(self.key)}
        if not watched:
            return ()
        fields = [self.staged.schema.field(name) for name in self.key]
        texts = [[text(value, field) for value in self.staged.column(field.name)] for field in fields]
        there = set(zip(*texts, strict=True)) & watched
        return tuple(sorted(there - {record.key for record in failed}, key=str))

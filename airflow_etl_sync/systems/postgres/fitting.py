"""What the schema contract does where the stream's columns are not those of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_etl_sync.core.columns import is_inferred, types_of
from airflow_etl_sync.core.contract import Change, SchemaChange
from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.errors import DataError, SchemaError
from airflow_etl_sync.systems.base import StagedChunk
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.target import Target, TargetColumn, created_type, is_type, read_columns
from airflow_etl_sync.systems.postgres.types import encoding_of
from airflow_etl_sync.systems.postgres.widening import holds, may_bend, wider

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa
    from psycopg.sql import Composed


class Refusal(NamedTuple):
    """Rows that must not be loaded: a condition on them, and why."""

    condition: Composed
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How the staged columns go into the table.

    :param columns: the table's columns, changed by now where the contract lets them change
    :param left_out: staged columns that are not written
    :param tested: written columns whose values are tested one by one, as the cast to the table's type may bend them;
        with the type in which they are compared
    :param refusals: rows to set aside
    """

    columns: dict[str, TargetColumn]
    left_out: frozenset[str]
    tested: dict[str, str]
    refusals: tuple[Refusal, ...]
    changes: tuple[SchemaChange, ...]


def fit(
    driver: psycopg.Connection[Any],
    target: Target,
    staged: StagedChunk,
    key: tuple[str, ...],
    rules: LoadRules,
    *,
    may_set_aside: bool,
) -> Fit:
    """Compare the staged columns with the table's, and act on the differences as the contract says.

    ``evolve`` adds columns, and widens one when the first value comes that does not fit. ``freeze`` refuses.
    ``discard_column`` leaves such columns out, ``discard_row`` sets rows aside that have a value in them.

    :param may_set_aside: whether rows with values that do not fit may become failed records
    :raises SchemaError: under ``freeze``, and where the key or the conflict field would be left out
    :raises DataError: where values do not fit and no row may be set aside
    """
    fitting = _Fitting(driver, target, staged, rules)
    new = [field for field in staged.schema if field.name not in target.columns]
    unlike = [field for field in staged.schema if field.name in target.columns and fitting.is_unlike(field)]
    left_out, refusals = frozenset[str](), tuple[Refusal, ...]()
    changes: list[SchemaChange] = []
    contract = rules.schema_contract
    if contract in ("freeze", "discard_column"):  # what was told from values fits as long as the values do
        told = [field for field in unlike if is_inferred(field)]
        bent = fitting.misfits(told)
        unlike = [field for field in unlike if field not in told or field in bent]
    if contract == "freeze":
        fitting.refuse(new, unlike)
    if contract == "evolve":
        changes += [fitting.add(field) for field in new]
    elif contract in ("discard_column", "discard_row"):
        leaving = [*new, *unlike] if contract == "discard_column" else new
        left_out = frozenset(field.name for field in leaving)
        fitting.refuse_leaving_out(left_out, key)
        changes += [fitting.change(field, "left_out") for field in leaving]
    if contract == "discard_row":
        refusals = tuple(_refusal(field.name) for field in new)
    misfits = fitting.misfits([field for field in unlike if field.name not in left_out])
    if contract == "evolve":
        widened = [(field, type_) for field in misfits if (type_ := fitting.wider_type(field))]
        changes += [fitting.widen(field, type_) for field, type_ in widened]
        misfits = [field for field in misfits if field not in [done for done, _ in widened]]
    if misfits and not may_set_aside:
        raise DataError(
            f"Values of column {_listed(misfits)} do not fit the type that {str(target.table)!r} has for it, and would "
            "be rounded or cut: widen the column, convert the values at the source, or allow more failed "
            "records (max_errors)."
        )
    return Fit(
        columns=read_columns(driver, target.table) if changes else target.columns,
        left_out=left_out,
        tested={field.name: fitting.compared_type(field) or "text" for field in misfits},
        refusals=refusals,
        changes=tuple(changes),
    )


@dataclass(frozen=True, slots=True)
class _Fitting:
    driver: psycopg.Connection[Any]
    target: Target
    staged: StagedChunk
    rules: LoadRules

    def is_unlike(self, field: pa.Field) -> bool:
        """Whether the table's column may not take every value of the stream's."""
        column = self.target.columns[field.name]
        declared, base = types_of(field)
        is_same = column.declared == declared and not is_inferred(field)
        return not column.is_generated and not is_same and not holds(column.base_declared, base)

    def change(self, field: pa.Field, change: Change, new_type: str | None = None) -> SchemaChange:
        column = self.target.columns.get(field.name)
        return SchemaChange(
            place=str(self.target.table),
            column=field.name,
            change=change,
            old_type=column.declared if column else None,
            new_type=new_type or types_of(field).declared,
        )

    def refuse(self, new: list[pa.Field], unlike: list[pa.Field]) -> None:
        if new:
            raise SchemaError(
                f"The table {str(self.target.table)!r} has no column {_listed(new)}, and schema_contract is 'freeze': "
                "add what is missing, or list the columns to read in columns."
            )
        if unlike:
            types = ", ".join(
                f"{field.name} ({types_of(field).declared} into {self.target.columns[field.name].declared})"
                for field in unlike
            )
            raise SchemaError(
                f"Columns of {str(self.target.table)!r} do not hold every value of the stream's, and schema_contract "
                f"is 'freeze': {types}. Widen them, or convert the values at the source."
            )

    def refuse_leaving_out(self, left_out: frozenset[str], key: tuple[str, ...]) -> None:
        needed = {*key, *([self.rules.conflict_field] if self.rules.conflict == "latest_wins" else [])}
        missing = sorted(name for name in needed if name in left_out)
        if missing:
            raise SchemaError(
                f"Column {', '.join(missing)} of {str(self.target.table)!r} does not fit the stream's and cannot be "
                "left out, as it is part of the key or the conflict field: change the table."
            )

    def add(self, field: pa.Field) -> SchemaChange:
        type_ = created_type(self.driver, field)
        self.driver.execute(sql.sessions.BE_PATIENT)
        self.driver.execute(sql.target.add_column(self.target.table, field.name, type_))
        return self.change(field, "added", type_)

    def wider_type(self, field: pa.Field) -> str | None:
        column = self.target.columns[field.name]
        is_domain = column.declared != column.base_declared
        return None if is_domain else wider(column.base_declared, types_of(field).base)

    def widen(self, field: pa.Field, type_: str) -> SchemaChange:
        self.driver.execute(sql.sessions.BE_PATIENT)
        self.driver.execute(sql.target.widen_column(self.target.table, field.name, type_))
        return self.change(field, "widened", type_)

    def misfits(self, unlike: list[pa.Field]) -> list[pa.Field]:
        """The columns of which a staged value would be bent by the cast, or refuses it."""
        tried = [(field, type_) for field in unlike if (type_ := self.compared_type(field))]
        if not tried:
            return []
        together = self._bent(tried)
        if together is None:  # the cast of some value failed: ask for each column alone
            return [field for field, type_ in tried if self._bent([(field, type_)]) != [False]]
        return [field for (field, _), is_bent in zip(tried, together, strict=True) if is_bent]

    def compared_type(self, field: pa.Field) -> str | None:
        """The type in which a value is compared with what the table would make of it; None where nothing can bend it.

        Within a family it is the source's. Otherwise the value's text is read as the table's type, which is exact or
        an error, and only a length or precision can bend what it has become.
        """
        base, column = types_of(field).base, self.target.columns[field.name]
        if may_bend(base, column.base) and is_type(self.driver, base):
            return base
        return column.base if column.base != column.base_declared else None

    def _bent(self, fields: list[tuple[pa.Field, str]]) -> list[bool] | None:
        import psycopg

        tried = [
            (field.name, encoding_of(field), type_, self.target.columns[field.name].base_declared)
            for field, type_ in fields
        ]
        try:
            with self.driver.transaction():
                found = self.driver.execute(sql.staging.find_bent(self.staged.name, tried)).fetchone()
        except psycopg.DataError:
            return None
        return [bool(is_bent) for is_bent in found or ()]


def _refusal(column: str) -> Refusal:
    reason = f"column {column} is not in the table, and schema_contract is 'discard_row'"
    return Refusal(sql.rejects.has_value(column), reason)


def _listed(fields: list[pa.Field]) -> str:
    return ", ".join(field.name for field in fields)

"""A column of MySQL or MariaDB is given a type that holds more, and keeps all else that was said of it."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from airflow_etl_sync.core.contract import SchemaChange
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.database.faults import fault_in

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

_TYPES = text("""
SELECT column_name, column_type FROM information_schema.columns
WHERE table_schema = coalesce(:schema, database()) AND table_name = :name
""")
_LOCK_SECONDS = 600
"""So long a load beside this one, which has the table open, is waited for; MySQL's own limit is a year."""


def declared_types(connection: Connection, table: TableName) -> dict[str, str]:
    """By name the type of each column, in MySQL's words."""
    found = connection.execute(_TYPES, {"schema": table.schema, "name": table.name}).all()
    return {_text(name): _text(type_) for name, type_ in found}


def widen(connection: Connection, table: TableName, name: str, old: str, new: str) -> list[SchemaChange]:
    """Give a column another type, which commits; nothing where the server refuses it for good.

    In strict mode no value is cut by it.

    :raises SQLAlchemyError: where it may succeed later
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    where = ".".join(quote(part) for part in (table.schema, table.name) if part)
    shown = _text(connection.exec_driver_sql(f"SHOW CREATE TABLE {where}").one()[1])
    rest = _rest_of(shown, "`" + name.replace("`", "``") + "`", old)
    if rest is None:
        return []
    modify = f"ALTER TABLE {where} MODIFY COLUMN {quote(name)} {new}{rest.replace('%', '%%')}"
    try:
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {_LOCK_SECONDS}")
        connection.exec_driver_sql(modify)
        connection.commit()
    except SQLAlchemyError as error:
        connection.rollback()
        fault = fault_in(error)
        if fault is None or fault.blame == "time":
            raise
        log.warning("Column %s of %s stays %s, as it cannot become %s: %s", name, table, old, new, fault.text)
        return []
    return [SchemaChange(place=str(table), column=name, change="widened", old_type=old, new_type=new)]


def _rest_of(shown: str, quoted: str, type_: str) -> str | None:
    """What a table's statement says of a column behind its type: character set, NULL, default, comment and the rest."""
    start = f"\n  {re.escape(quoted)} {re.escape(type_)}"
    found = re.search(rf"{start}(?P<rest>(?:'(?:[^'\\]|''|\\.)*'|[^'])*?)(?:,\n  [`A-Z]|\n\))", shown, re.DOTALL)
    return found and found["rest"]


def _text(found: str | bytes) -> str:
    return found.decode() if isinstance(found, bytes) else found

"""What a soak of captures knows of its warehouse from one quiet moment to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.scenarios.reconciling import staged
from tests.scenarios.soak_runs import SoakError
from tests.scenarios.soak_table import Key
from tests.scenarios.world import scalar

WRITTEN = """
CREATE TABLE written (number bigint);
INSERT INTO written VALUES (0);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.written VALUES (1);
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON t
FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION note();
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON child
FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION note()
"""
"""The tables count what is written to them, but for what foreign keys do."""

TOLD = """
SELECT (SELECT coalesce(sum(inserted + updated + deleted), 0) FROM etl_sync.sync_run WHERE kind IN ('cdc', 'reconcile'))
    + (SELECT coalesce(sum(inserted + updated), 0) FROM etl_sync.loaded_chunk)
"""


@dataclass(slots=True)
class Audit:
    """What was there, and what had been told, at the last quiet moment."""

    _known: dict[str, set[Key]] = field(default_factory=dict)
    _told_before: int | None = None

    def forget(self) -> None:
        """Begin anew, since rows have gone otherwise than by captures."""
        self._known.clear()
        self._told_before = None

    def refuse_vanished(self, warehouse: psycopg.Connection, name: str, key: Sequence[str], *, is_soft: bool) -> None:
        """A row is flagged where its deletion is soft, and stays."""
        keys: set[Key] = set(warehouse.execute(f"SELECT {', '.join(map(str, key))} FROM {name}").fetchall())
        gone = self._known.get(name, set()) - keys
        if is_soft and gone:
            raise SoakError(f"{len(gone)} rows of {name} have vanished, as {min(gone)}")
        self._known[name] = keys

    def leftovers(self, warehouse: psycopg.Connection) -> dict[str, Any]:
        found = {
            "positions that went back": warehouse.execute("SELECT * FROM backwards").fetchall(),
            "failed records": scalar(warehouse, "SELECT count(*) FROM etl_sync.failed_record"),
            "staging tables": staged(warehouse),
        }
        return {name: value for name, value in found.items() if value}

    def written(self, warehouse: psycopg.Connection) -> dict[str, Any]:
        """What is written and not told, or told and not written."""
        if self._told_before is None:
            warehouse.execute("DROP TABLE IF EXISTS written; DROP FUNCTION IF EXISTS note CASCADE")
            warehouse.execute(WRITTEN)
            self._told_before = scalar(warehouse, TOLD)
        written = scalar(warehouse, "SELECT sum(number) FROM written")
        told = scalar(warehouse, TOLD) - self._told_before
        return {"rows written, rows told": (written, told)} if written != told else {}

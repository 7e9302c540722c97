"""What BigQuery remembers of the chunks that have landed in a table, in a table of its own beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.systems import remembered
from airflow_etl_sync.systems.base import Landed
from airflow_etl_sync.systems.columnar.memory import Memory


@dataclass(frozen=True, slots=True)
class BigQueryMemory(Memory):
    """A memory that the merge's script writes, which counts what it has written."""

    def landed(self, extraction_id: str) -> Mapping[int, Landed]:
        found = self._rows(self.statements.find_landed, self.target, extraction_id)
        return {
            int(number): _written(remembered.from_json(json.loads(content)), int(inserted), int(updated))
            for number, content, inserted, updated in found
        }


def _written(landed: Landed, inserted: int, updated: int) -> Landed:
    """What has landed, where it is known by now how many rows were written; until then all stood as skipped."""
    counts = landed.merged.counts
    known = Counts(inserted, updated, counts.skipped - inserted - updated, counts.errors)
    return replace(landed, merged=replace(landed.merged, counts=known))

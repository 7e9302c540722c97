"""A directory of Parquet files as a destination: every row of a chunk is added, as it was read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from airflow_etl_sync.core import dataset_names
from airflow_etl_sync.core.model import Dataset, LoadRules, TableName
from airflow_etl_sync.errors import ConfigurationError, DestinationError, StateError, explaining
from airflow_etl_sync.faults import Fault, fault_of
from airflow_etl_sync.systems import remembered
from airflow_etl_sync.systems.base import Landed, Mark, Merged, MergeKeys, StagedChunk, Tolerance
from airflow_etl_sync.systems.columnar.destination import ColumnarDestination
from airflow_etl_sync.systems.columnar.fitting import never_widens
from airflow_etl_sync.systems.columnar.rows import Ready, make_ready

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Engine

    from airflow_etl_sync.systems.parquet.files import LakeFiles

_NOTES = b"etl_sync"
_NAME = re.compile(r"(?P<run>[^-]+)-(?P<number>\d+)-(?P<part>\d+)of(?P<parts>\d+)\.parquet")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


class ParquetDestination(ColumnarDestination):
    """Adds rows to a directory of Parquet files, see :class:`~airflow_etl_sync.systems.base.Destination`.

    A chunk is one file, or one for each partition, named for the run and the chunk; its footer says what the merge came
    to. So what a crash has left is found by name, and is replaced unless it is whole. Nothing is ever overwritten, so
    it is of no matter which run comes last.

    :param files: the lake
    :param table: the target: ``schema.table`` is the directory ``schema/table``
    :param state: where the state tables live
    :param partitions: the columns by which rows are parted into directories (``column=value``)
    """

    def __init__(self, files: LakeFiles, table: TableName, state: Engine, partitions: Sequence[str] = ()) -> None:
        super().__init__(table, files.root, state)
        self._files = files
        self._directory = "/".join(part for part in (table.schema, table.name) if part)
        self._partitions = tuple(partitions)

    @property
    def dataset(self) -> Dataset:
        """The table as lineage names it."""
        return dataset_names.in_folder(self._files.uri, self._directory.split("/"))

    def types(self) -> Mapping[str, str]:
        """None: each file has the types that its chunk had."""
        return {}

    def is_there(self) -> bool:
        """Whether there is a place for files: a chunk of which every row failed has none."""
        return self._files.is_there()

    def merge(
        self,
        connection: Connection,  # noqa: ARG002
        staged: StagedChunk,
        rows: int,
        keys: MergeKeys,
        rules: LoadRules,
        tolerance: Tolerance,
    ) -> Merged:
        chunk, mark = self._staged.pop(staged.name), staged.mark
        if mark is None:
            raise AssertionError("a chunk is named by its mark")
        self._refuse_rules(rules)
        with explaining(DestinationError, f"add files to {self._name!r}", parquet_fault_of):
            left = self._files.find(self._directory, _beginning(mark.extraction_id, mark.number))
            if mark.number in _whole(left):
                raise StateError(
                    f"Chunk {mark.number} of {mark.sync_key!r} has been loaded by another try meanwhile.",
                    is_retryable=True,
                )
            ready = make_ready(self._name, {}, (), chunk, rows, keys, rules, tolerance, never_widens, is_keyed=False)
            merged = ready.merged(ready.table.num_rows, 0)
            self._write(ready, mark, merged, left)
        return merged

    def recall(self, extraction_id: str) -> Mapping[int, Landed]:
        """What the files of a run say of themselves, where all those of a chunk are there."""
        import pyarrow.parquet as pq

        landed = {}
        with explaining(DestinationError, f"look at the files of {self._name!r}", parquet_fault_of):
            found = self._files.find(self._directory, _beginning(extraction_id))
            for number, (directory, name) in _whole(found).items():
                with self._files.open(directory, name) as file:
                    notes = pq.read_metadata(file).metadata[_NOTES]
                landed[number] = remembered.from_json(json.loads(notes))
        return landed

    def _refuse_rules(self, rules: LoadRules) -> None:
        """:raises ConfigurationError: where rows that are there would have to be looked at"""
        if rules.conflict != "source_wins" or rules.schema_contract != "evolve":
            raise ConfigurationError(
                f"Rows are only ever added to the Parquet files of {self._name!r}, so conflict and schema_contract "
                "mean nothing there: leave both out, or load a Delta table."
            )

    def _write(self, ready: Ready, mark: Mark, merged: Merged, left: Sequence[tuple[str, str]]) -> None:
        """Write the files of a chunk over those that a crash has left of it."""
        import pyarrow.parquet as pq

        for directory, name in left:
            self._files.remove(directory, name)
        notes = {_NOTES: json.dumps(remembered.to_json(merged, mark.position)).encode()}
        parts = list(self._parted(ready.with_time()))
        for place, (directory, part) in enumerate(parts, start=1):
            name = f"{_beginning(mark.extraction_id, mark.number)}{place}of{len(parts)}.parquet"
            with self._files.create(directory, name) as sink:
                pq.write_table(part.replace_schema_metadata(notes), sink, compression="zstd", row_group_size=65_536)

    def _parted(self, table: pa.Table) -> Iterator[_Part]:
        """The rows of each partition, without the columns that its directory tells."""
        import pyarrow.compute as pc

        missing = [name for name in self._partitions if name not in table.column_names]
        if missing:
            raise ConfigurationError(f"The stream has no column {missing[0]!r} to partition {self._name!r} by.")
        if not self._partitions:
            if table.num_rows:
                yield _Part(self._directory, table)
            return
        values = table.select(self._partitions)
        for row in values.group_by(self._partitions).aggregate([]).to_pylist():
            is_here = None
            for name, value in row.items():
                column = values.column(name)
                same = pc.is_null(column) if value is None else pc.fill_null(pc.equal(column, value), False)  # noqa: FBT003
                is_here = same if is_here is None else pc.and_(is_here, same)
            folders = [f"{quote(name, safe='')}={_value_text(value)}" for name, value in row.items()]
            yield _Part("/".join([self._directory, *folders]), table.filter(is_here).drop_columns(self._partitions))


class _Part(NamedTuple):
    directory: str
    table: pa.Table


def parquet_fault_of(error: BaseException) -> Fault | None:
    """What an error means: one of the storage passes with time, but for a refusal."""
    if isinstance(error, PermissionError):
        return Fault(None, "person", "the storage refuses it: correct the credentials, or grant to write there")
    if isinstance(error, OSError):
        return Fault(None, "time", f"the storage failed ({error.strerror or type(error).__name__})")
    return fault_of(error)


def _whole(files: Sequence[tuple[str, str]]) -> dict[int, tuple[str, str]]:
    """By number of a chunk of which all files are there, one of them."""
    found: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for directory, name in files:
        match = _NAME.fullmatch(name)
        if match is not None:
            found.setdefault((int(match["number"]), int(match["parts"])), []).append((directory, name))
    return {number: named[0] for (number, parts), named in found.items() if len(named) == parts}


def _beginning(extraction_id: str, number: int | None = None) -> str:
    return f"{extraction_id}-" if number is None else f"{extraction_id}-{number:06d}-"


def _value_text(value: Any) -> str:
    return _NO_VALUE if value is None else quote(str(value), safe="") or _NO_VALUE

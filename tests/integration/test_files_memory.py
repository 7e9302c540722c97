"""S16 for files: reading one takes no more memory when it is larger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
FEW, MANY = 20_000, 400_000
MOST_GROWTH = 25 * 2**20
"""Measured: 0 to 14 MB, where holding the file takes 50."""

READ = """
import sys
import fsspec
from airflow_etl_sync.core.files import FileSet
from airflow_etl_sync.core.model import Stream, Window
from airflow_etl_sync.systems.files.place import FilePlace
from airflow_etl_sync.systems.files.source import FileSource
from tests.scenarios.measured import peak_bytes

files = FileSet.parse(sys.argv[1], {})
stream = Stream(sync_key="s", cursor_field="file_name", primary_key=("id",), files=files)
source = FileSource(FilePlace(fsspec.filesystem("file"), files.uri, files.uri), stream)
source.describe()
print(sum(batch.num_rows for batch in source.read(Window(), None)), peak_bytes())
"""


def write(path: Path, rows: int) -> None:
    if path.suffix == ".parquet":
        table = pa.table(
            {"id": range(rows), "text": [f"{n} {'a text that is of some length ' * 4}" for n in range(rows)]}
        )
        pq.write_table(table, path, row_group_size=rows, compression="none", use_dictionary=False)
        return
    with path.open("w") as file:
        file.write("id,text\n" if path.suffix == ".csv" else "")
        for n in range(rows):
            text = f"{n} {'a text that is of some length ' * 4}"
            file.write(f'{n},"{text}"\n' if path.suffix == ".csv" else f'{{"id": {n}, "text": "{text}"}}\n')


@pytest.mark.slow
@pytest.mark.scenario("S16")
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_peak_memory_does_not_grow_with_the_file(tmp_path: Path, ending: str) -> None:
    peaks = []
    for rows in (FEW, MANY):
        path = tmp_path / f"{rows}.{ending}"
        write(path, rows)
        done = subprocess.run(
            [sys.executable, "-c", READ, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        count, peak = map(int, done.stdout.split())
        assert count == rows
        peaks.append(peak)
    assert peaks[1] - peaks[0] < MOST_GROWTH, [peak // 2**20 for peak in peaks]

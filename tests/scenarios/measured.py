"""A process that takes one step of a sync, and says how much memory it needed at most."""

from __future__ import annotations

import json
import re
import resource
import sys
from pathlib import Path

from airflow_etl_sync.core.model import Extraction
from tests.scenarios.doomed import go


def peak_bytes() -> int:
    """The most memory this process has had.

    ``ru_maxrss`` counts what the process was forked from, the whole of pytest; Linux tells it apart.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found
        return int(found.group(1)) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    result = go(json.load(sys.stdin))
    measured = {
        "peak_bytes": peak_bytes(),
        "extraction": result.to_json() if isinstance(result, Extraction) else None,
        "has_airflow": "airflow" in sys.modules,
    }
    json.dump(measured, sys.stdout)

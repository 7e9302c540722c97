"""Where the tests' server keeps its data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 1024**3


def quickest_place() -> Path | None:
    """A file system in memory, where there is a roomy one that programs may be run from; else the usual place.

    Every test has databases of its own, of 300 files each. Some file systems are slow to make files where
    others have just been removed: ext4 without a journal takes ten times as long.
    """
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free > MEMORY_BYTES else None

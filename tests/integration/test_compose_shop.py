"""The service of docker-compose.yaml that fills the shop does so: its command is run here as it stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import yaml

ROOT = Path(__file__).parents[2]


def test_the_shop_can_be_filled(source_db: str, source: psycopg.Connection) -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]["shop-rows"]
    python, *arguments = service["command"]
    assert python == "python"
    subprocess.run([sys.executable, *arguments], env=os.environ | {"SHOP_URI": source_db}, cwd=ROOT, check=True)
    assert source.execute("SELECT count(*) FROM public.orders").fetchone() == (10_000,)

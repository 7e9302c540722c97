"""Tables away from the state that refuse some of a shop's prices, one for each system whose rows can be mended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tests.mariadb import MariaDb, new_mariadb

MARTS = ("mysql", "sqlite", "duckdb")
PRICES, REFUSED = 10, 2
SOURCE = (
    "CREATE TABLE IF NOT EXISTS public.prices (id bigint PRIMARY KEY, price text NOT NULL, changed bigint NOT NULL)",
    f"""
    INSERT INTO public.prices
    SELECT n, CASE WHEN n <= {REFUSED} THEN 'bad' ELSE '1' END, n FROM generate_series(1, {PRICES}) AS n
    ON CONFLICT DO NOTHING
    """,
)
"""The shop's table: the price of the first two is a word."""

_MADE = "CREATE TABLE prices (id bigint PRIMARY KEY, price {}, changed bigint)"
_WORD = "varchar(9) NOT NULL"
_REFUSING = {"duckdb": "integer NOT NULL"}


@dataclass(frozen=True, slots=True)
class Mart:
    """A database with the table ``prices``, which refuses what is no number.

    :param system: the type of its connection
    :param place: of a file its path
    """

    system: str
    place: Path | MariaDb

    @property
    def connection(self) -> dict[str, Any]:
        """The fields of its Airflow connection."""
        if isinstance(self.place, Path):
            return {"conn_type": self.system, "host": str(self.place)}
        return {
            "conn_type": self.system, "host": self.place.host, "port": self.place.port, "login": self.place.login,
            "password": self.place.password, "schema": self.place.database,
        }  # fmt: skip

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements one after another; the rows of the last."""
        if isinstance(self.place, MariaDb):
            return self.place.execute(*statements)
        opened = (
            duckdb.connect(str(self.place))
            if self.system == "duckdb"
            else sqlite3.connect(self.place, isolation_level=None)
        )
        found: list[tuple[Any, ...]] = []
        with closing(opened) as connection:
            for statement in statements:
                found = connection.execute(statement).fetchall()
        return found

    def make(self) -> None:
        """Make the table that refuses words."""
        self.execute(_MADE.format(_REFUSING.get(self.system, f"{_WORD} CHECK (price <> 'bad')")))

    def mend(self) -> None:
        """Let the table take words."""
        self.execute(
            "ALTER TABLE prices RENAME TO refusing", _MADE.format(_WORD), "INSERT INTO prices SELECT * FROM refusing"
        )

    def words(self) -> list[tuple[Any, ...]]:
        """The ids whose price is a word."""
        return self.execute("SELECT id FROM prices WHERE CAST(price AS char(3)) = 'bad' ORDER BY id")


@contextmanager
def new_mart(system: str, folder: Path) -> Iterator[Mart]:
    """A mart with the refusing table."""
    if system == "mysql":
        with new_mariadb() as database:
            mart = Mart(system, database)
            mart.make()
            yield mart
    else:
        mart = Mart(system, folder / f"mart.{system}")
        mart.make()
        yield mart

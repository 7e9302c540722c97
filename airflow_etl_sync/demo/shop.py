"""A small shop: its tables, its rows, and the ways in which people change them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal

import psycopg

from airflow_etl_sync.demo import shop_sql
from airflow_etl_sync.demo.changes import Changes, TradingDay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PRODUCTS = 1_000
CARTS = 500


class Shop:
    """A shop's database.

    Orders to be changed are named by their place in the order of ids, so that a call never waits for
    the rows that :meth:`late_transaction` holds, as long as their places do not overlap.

    :param conninfo: of an empty database, or one that :meth:`create` has been at.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo

    def create(self, orders: int) -> None:
        """Make the tables and fill them: one user for five orders, one to three items an order."""
        sizes = {"orders": orders, "users": users_for(orders), "products": PRODUCTS, "carts": CARTS}
        with psycopg.connect(self._conninfo) as connection:
            connection.execute(shop_sql.SCHEMA)
            for statement in shop_sql.FILL:
                connection.execute(statement, sizes)
            connection.execute(shop_sql.TRIGGERS)
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute("ANALYZE")

    def add_orders(self, orders: int) -> Changes:
        """Add orders with an item each (at most as many as there are users)."""
        with psycopg.connect(self._conninfo) as connection:
            return _add_orders(connection, orders)

    def change_orders(self, *, first: int, orders: int, what: Literal["status", "items"] = "status") -> Changes:
        """Move orders on to their next status, or change their items."""
        with psycopg.connect(self._conninfo) as connection:
            return _change_orders(connection, first, orders, what)

    @contextmanager
    def late_transaction(self, *, first: int, orders: int) -> Iterator[LateTransaction]:
        """Add and change orders now, in a transaction that stays open until it is told to commit.

        Its rows carry the time of its start, so a reader that goes by the largest ``updated_at`` it has
        seen passes them over for ever. Left without a commit, the transaction is rolled back.
        """
        with psycopg.connect(self._conninfo) as connection:
            added = _add_orders(connection, orders)
            changed = _change_orders(connection, first, orders, "status")
            try:
                yield LateTransaction(connection, added + changed)
            finally:
                connection.rollback()

    def trade(self) -> TradingDay:
        """Change rows of users, orders, products and carts in every way there is, a transaction for each."""
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            day = TradingDay()
            for happening in _happenings(connection):
                with connection.transaction():
                    day += happening()
            with connection.transaction(force_rollback=True):
                _cancel_orders(connection, 0, 1_000)
        return day

    @contextmanager
    def steady_changes(self, interval_seconds: float = 2.0) -> Iterator[None]:
        """Change an order every now and then, for as long as the block runs; some are added, removed or renumbered."""
        enough = threading.Event()
        worker = threading.Thread(target=self._change_until, args=(enough, interval_seconds), daemon=True)
        worker.start()
        try:
            yield
        finally:
            enough.set()
            worker.join()

    def _change_until(self, enough: threading.Event, interval_seconds: float) -> None:
        with psycopg.connect(self._conninfo) as connection:
            for turn in count():
                if enough.wait(interval_seconds):
                    return
                with connection.transaction():
                    _take_turn(connection, turn)


@dataclass(frozen=True, slots=True)
class LateTransaction:
    """An open transaction and what it will have changed."""

    connection: psycopg.Connection
    changes: Changes

    def commit(self) -> Changes:
        """Make the changes seen."""
        self.connection.commit()
        return self.changes


def users_for(orders: int) -> int:
    """Return how many users a shop of so many orders has."""
    return max(1, orders // 5)


def _happenings(connection: psycopg.Connection) -> tuple[Callable[[], TradingDay], ...]:
    return (
        lambda: _forget_users(connection, 10, 5),
        lambda: _of_orders(_cancel_orders(connection, 500, 60)),
        lambda: _renumber_orders(connection, 600, 10),
        lambda: _of_orders(_change_orders(connection, 1_000, 250, "status")),
        lambda: _of_orders(_change_orders(connection, 1_500, 50, "items")),
        lambda: _rename_users(connection, 100, 30),
        lambda: _add_users(connection, 20),
        lambda: _come_and_go(connection, 7),
        lambda: _change_products(connection, 100, 1),
        lambda: _empty_carts(connection),
    )


def _take_turn(connection: psycopg.Connection, turn: int) -> None:
    _change_orders(connection, turn, 1, "items" if turn % 3 else "status")
    if turn % 5 == 0:
        _add_orders(connection, 2)
    elif turn % 5 == 2:
        _cancel_orders(connection, turn, 1)
    elif turn % 5 == 4:
        _renumber_orders(connection, turn, 1)


def _add_orders(connection: psycopg.Connection, orders: int) -> Changes:
    return _add_orders_of(connection, _ids(connection, shop_sql.USER_IDS, first=0, rows=orders))


def _add_orders_of(connection: psycopg.Connection, users: frozenset[int]) -> Changes:
    return Changes(inserted=_ids(connection, shop_sql.INSERT_ORDERS, ids=list(users)))


def _change_orders(
    connection: psycopg.Connection, first: int, orders: int, what: Literal["status", "items"]
) -> Changes:
    ids = _ids(connection, shop_sql.ORDER_IDS, first=first, rows=orders)
    connection.execute(shop_sql.UPDATE_STATUS if what == "status" else shop_sql.UPDATE_QUANTITY, {"ids": list(ids)})
    return Changes(updated=ids)


def _cancel_orders(connection: psycopg.Connection, first: int, orders: int) -> Changes:
    ids = _ids(connection, shop_sql.ORDER_IDS, first=first, rows=orders)
    connection.execute(shop_sql.DELETE_ORDERS, {"ids": list(ids)})
    return Changes(deleted=ids)


def _renumber_orders(connection: psycopg.Connection, first: int, orders: int) -> TradingDay:
    old = _ids(connection, shop_sql.ORDER_IDS, first=first, rows=orders)
    new = _ids(connection, shop_sql.RENUMBER_ORDERS, ids=list(old))
    return TradingDay({"orders": Changes(inserted=new, deleted=old)}, renumbered=len(new))


def _forget_users(connection: psycopg.Connection, first: int, users: int) -> TradingDay:
    """Remove users with all that is theirs."""
    ids = _ids(connection, shop_sql.USER_IDS, first=first, rows=users)
    carts = _ids(connection, shop_sql.CART_IDS, ids=list(ids))
    orders = _ids(connection, shop_sql.DELETE_ORDERS_OF, ids=list(ids))
    connection.execute(shop_sql.DELETE_USERS, {"ids": list(ids)})
    gone = {"users": ids, "orders": orders, "carts": carts}
    return TradingDay({table: Changes(deleted=keys) for table, keys in gone.items()})


def _rename_users(connection: psycopg.Connection, first: int, users: int) -> TradingDay:
    ids = _ids(connection, shop_sql.USER_IDS, first=first, rows=users)
    connection.execute(shop_sql.UPDATE_NAMES, {"ids": list(ids)})
    return TradingDay({"users": Changes(updated=ids)})


def _add_users(connection: psycopg.Connection, users: int) -> TradingDay:
    """Add users with their first order."""
    ids = _ids(connection, shop_sql.INSERT_USERS, users=users)
    return TradingDay({"users": Changes(inserted=ids), "orders": _add_orders_of(connection, ids)})


def _come_and_go(connection: psycopg.Connection, orders: int) -> TradingDay:
    """Add orders, and remove some of them again."""
    added = _add_orders(connection, orders)
    gone = frozenset(sorted(added.inserted)[::3])
    connection.execute(shop_sql.DELETE_ORDERS, {"ids": list(gone)})
    return _of_orders(added + Changes(deleted=gone))


def _change_products(connection: psycopg.Connection, repriced: int, renumbered: int) -> TradingDay:
    """Change prices, and also a number; the long descriptions stay."""
    ids = _ids(connection, shop_sql.PRODUCT_IDS, first=0, rows=repriced)
    connection.execute(shop_sql.UPDATE_PRICES, {"ids": list(ids)})
    old = frozenset(sorted(ids)[:renumbered])
    new = _ids(connection, shop_sql.RENUMBER_PRODUCTS, ids=list(old))
    changes = Changes(updated=ids) + Changes(inserted=new, deleted=old)
    return TradingDay({"products": changes}, renumbered=len(new), lean=len(ids))


def _empty_carts(connection: psycopg.Connection) -> TradingDay:
    """Empty all carts by TRUNCATE and fill a few anew."""
    emptied = _ids(connection, shop_sql.ALL_CART_IDS)
    connection.execute(shop_sql.EMPTY_CARTS)
    filled = _ids(connection, shop_sql.FILL_CARTS, products=PRODUCTS, carts=15)
    return TradingDay({"carts": Changes(inserted=filled, emptied=emptied)})


def _of_orders(changes: Changes) -> TradingDay:
    return TradingDay({"orders": changes})


def _ids(connection: psycopg.Connection, statement: str, **values: int | list[int]) -> frozenset[int]:
    rows: Iterable[tuple[int]] = connection.execute(statement, values)
    return frozenset(row[0] for row in rows)

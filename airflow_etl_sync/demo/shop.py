"""A small shop: its tables, its rows, and the ways in which people change them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SCHEMA = """
CREATE TABLE public.users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE public.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES public.users,
    status text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE public.items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES public.orders ON DELETE CASCADE,
    sku text NOT NULL,
    quantity int NOT NULL,
    unit_price numeric(12, 2) NOT NULL
);
CREATE INDEX users_updated_at ON public.users (updated_at);
CREATE INDEX orders_updated_at ON public.orders (updated_at);
CREATE INDEX orders_user_id ON public.orders (user_id);
CREATE INDEX items_order_id ON public.items (order_id);
"""

# A row is stamped with the start of its transaction, as in most schemas: it is seen only at the commit.
TRIGGERS = """
CREATE FUNCTION public.set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE FUNCTION public.touch_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.orders SET updated_at = now() WHERE id IN (OLD.order_id, NEW.order_id);
    RETURN NULL;
END $$;
CREATE TRIGGER users_set_updated_at BEFORE UPDATE ON public.users
    FOR EACH ROW EXECUTE FUNCTION public.set_updated_at();
CREATE TRIGGER orders_set_updated_at BEFORE UPDATE ON public.orders
    FOR EACH ROW EXECUTE FUNCTION public.set_updated_at();
CREATE TRIGGER items_touch_order AFTER INSERT OR UPDATE OR DELETE ON public.items
    FOR EACH ROW EXECUTE FUNCTION public.touch_order();
"""

FILL_USERS = """
INSERT INTO public.users (email, name, created_at, updated_at)
SELECT
    format('user%%s@example.org', number),
    format('User %%s', number),
    now() - interval '120 days',
    now() - interval '100 days'
FROM generate_series(1, %(users)s) AS number
"""

FILL_ORDERS = """
INSERT INTO public.orders (user_id, status, created_at, updated_at)
SELECT
    1 + number %% %(users)s,
    (ARRAY['new', 'paid', 'shipped', 'delivered'])[1 + number %% 4],
    now() - interval '91 days' + interval '90 days' * number / %(orders)s,
    now() - interval '90 days' + interval '89 days' * number / %(orders)s
FROM generate_series(1, %(orders)s) AS number
"""

FILL_ITEMS = """
INSERT INTO public.items (order_id, sku, quantity, unit_price)
SELECT
    orders.id,
    format('SKU-%%s', 1 + (orders.id * 7 + place) %% 1000),
    1 + (orders.id + place) %% 5,
    ((orders.id * 37 + place * 101) %% 20000)::numeric / 100 + 0.01
FROM public.orders
CROSS JOIN LATERAL generate_series(1, 1 + orders.id %% 3) AS place
"""

INSERT_ORDERS = """
WITH added AS (
    INSERT INTO public.orders (user_id, status)
    SELECT users.id, 'new' FROM public.users ORDER BY users.id LIMIT %(orders)s
    RETURNING id
), filled AS (
    INSERT INTO public.items (order_id, sku, quantity, unit_price)
    SELECT added.id, 'SKU-NEW', 2, 9.99 FROM added
)
SELECT id FROM added
"""

UPDATE_STATUS = """
UPDATE public.orders
SET status = CASE status WHEN 'new' THEN 'paid' WHEN 'paid' THEN 'shipped' WHEN 'shipped' THEN 'delivered'
    ELSE 'returned' END
WHERE id = ANY (%(ids)s)
"""

UPDATE_QUANTITY = "UPDATE public.items SET quantity = quantity + 1 WHERE order_id = ANY (%(ids)s)"

ORDER_IDS = """
SELECT id FROM public.orders ORDER BY id OFFSET %(offset)s LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Changes:
    """The ids of orders that were added or changed: what a sync must move, no more and no less."""

    inserted: frozenset[int] = frozenset()
    updated: frozenset[int] = frozenset()

    def __add__(self, other: Changes) -> Changes:
        inserted = self.inserted | other.inserted
        return Changes(inserted, (self.updated | other.updated) - inserted)


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
        sizes = {"orders": orders, "users": users_for(orders)}
        with psycopg.connect(self._conninfo) as connection:
            connection.execute(SCHEMA)
            for statement in (FILL_USERS, FILL_ORDERS, FILL_ITEMS):
                connection.execute(statement, sizes)
            connection.execute(TRIGGERS)
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

    @contextmanager
    def steady_changes(self, interval_seconds: float = 2.0) -> Iterator[None]:
        """Change an order every now and then, add one at every fifth turn, for as long as the block runs."""
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
                    _change_orders(connection, turn, 1, "items" if turn % 3 else "status")
                    if turn % 5 == 0:
                        _add_orders(connection, 1)


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


def _add_orders(connection: psycopg.Connection, orders: int) -> Changes:
    return Changes(inserted=_ids(connection.execute(INSERT_ORDERS, {"orders": orders})))


def _change_orders(
    connection: psycopg.Connection, first: int, orders: int, what: Literal["status", "items"]
) -> Changes:
    ids = _ids(connection.execute(ORDER_IDS, {"offset": first, "limit": orders}))
    connection.execute(UPDATE_STATUS if what == "status" else UPDATE_QUANTITY, {"ids": list(ids)})
    return Changes(updated=ids)


def _ids(rows: Iterable[tuple[int]]) -> frozenset[int]:
    return frozenset(row[0] for row in rows)

"""Every statement that the shop runs."""

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
    order_id bigint NOT NULL REFERENCES public.orders ON DELETE CASCADE ON UPDATE CASCADE,
    sku text NOT NULL,
    quantity int NOT NULL,
    unit_price numeric(12, 2) NOT NULL
);
CREATE TABLE public.products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku text NOT NULL,
    price numeric(12, 2) NOT NULL,
    description text NOT NULL
);
CREATE TABLE public.carts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES public.users ON DELETE CASCADE,
    sku text NOT NULL,
    quantity int NOT NULL
);
CREATE INDEX users_updated_at ON public.users (updated_at);
CREATE INDEX orders_updated_at ON public.orders (updated_at);
CREATE INDEX orders_user_id ON public.orders (user_id);
CREATE INDEX items_order_id ON public.items (order_id);
-- Descriptions lie beside the table, as long values do: an update that leaves one as it is keeps it out of the log.
ALTER TABLE public.products ALTER COLUMN description SET STORAGE EXTERNAL;
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

FILL_PRODUCTS = """
INSERT INTO public.products (sku, price, description)
SELECT
    format('SKU-%%s', number),
    (number * 37 %% 20000)::numeric / 100 + 0.01,
    repeat(format('Product %%s. ', number), 200)
FROM generate_series(1, %(products)s) AS number
"""

FILL_CARTS = """
INSERT INTO public.carts (user_id, sku, quantity)
SELECT id, format('SKU-%%s', 1 + id %% %(products)s), 1 + id %% 3
FROM public.users
ORDER BY id
LIMIT %(carts)s
RETURNING id
"""

INSERT_USERS = """
INSERT INTO public.users (email, name)
SELECT format('%%s@example.org', gen_random_uuid()), 'New user' FROM generate_series(1, %(users)s)
RETURNING id
"""

INSERT_ORDERS = """
WITH added AS (
    INSERT INTO public.orders (user_id, status)
    SELECT user_id, 'new' FROM unnest(%(ids)s::bigint[]) AS user_id
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

UPDATE_NAMES = "UPDATE public.users SET name = name || ' the Great' WHERE id = ANY (%(ids)s)"

UPDATE_PRICES = "UPDATE public.products SET price = price + 1 WHERE id = ANY (%(ids)s)"

RENUMBER_ORDERS = "UPDATE public.orders SET id = DEFAULT WHERE id = ANY (%(ids)s) RETURNING id"

RENUMBER_PRODUCTS = "UPDATE public.products SET id = DEFAULT WHERE id = ANY (%(ids)s) RETURNING id"

DELETE_ORDERS = "DELETE FROM public.orders WHERE id = ANY (%(ids)s)"

DELETE_ORDERS_OF = "DELETE FROM public.orders WHERE user_id = ANY (%(ids)s) RETURNING id"

DELETE_USERS = "DELETE FROM public.users WHERE id = ANY (%(ids)s)"

EMPTY_CARTS = "TRUNCATE public.carts"

CART_IDS = "SELECT id FROM public.carts WHERE user_id = ANY (%(ids)s)"

ORDER_IDS = "SELECT id FROM public.orders ORDER BY id OFFSET %(first)s LIMIT %(rows)s"

USER_IDS = "SELECT id FROM public.users ORDER BY id OFFSET %(first)s LIMIT %(rows)s"

PRODUCT_IDS = "SELECT id FROM public.products ORDER BY id OFFSET %(first)s LIMIT %(rows)s"

ALL_CART_IDS = "SELECT id FROM public.carts"

FILL = (FILL_USERS, FILL_ORDERS, FILL_ITEMS, FILL_PRODUCTS, FILL_CARTS)

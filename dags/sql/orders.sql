SELECT
    orders.id AS order_id,
    users.email AS user_email,
    totals.total_amount,
    totals.item_count,
    orders.status,
    orders.created_at AS order_date,
    -- The cursor: a plain column with an index, so that a run reads only the orders that changed. Items have no time
    -- of their own: adding or changing one touches its order. A changed e-mail address does not: the nightly full
    -- sync brings it. greatest(orders.updated_at, users.updated_at) would see it at once, and read all orders for it.
    orders.updated_at
FROM public.orders
JOIN public.users ON users.id = orders.user_id
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(items.quantity * items.unit_price), 0)::numeric(14, 2) AS total_amount,
        coalesce(sum(items.quantity), 0)::integer AS item_count
    FROM public.items
    WHERE items.order_id = orders.id
) AS totals

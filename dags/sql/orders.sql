SELECT
    orders.id AS order_id,
    users.email AS user_email,
    totals.total_amount,
    totals.item_count,
    orders.status,
    orders.created_at AS order_date,
    -- The row of the fact table changes when the order does, and also when its user's e-mail address does.
    -- Items have no time of their own: adding or changing one touches its order.
    greatest(orders.updated_at, users.updated_at) AS updated_at
FROM public.orders
JOIN public.users ON users.id = orders.user_id
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(items.quantity * items.unit_price), 0)::numeric(14, 2) AS total_amount,
        coalesce(sum(items.quantity), 0)::integer AS item_count
    FROM public.items
    WHERE items.order_id = orders.id
) AS totals

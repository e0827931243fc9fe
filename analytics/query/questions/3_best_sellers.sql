-- title: What sells best?
SELECT
    product_id,
    any(name) AS product,
    uniqExact(order_id) AS orders,
    uniqExact(profile_id) AS customers,
    sum(quantity) AS pieces,
    sum(amount) AS sales
FROM order_items
WHERE tenant_id = {tenant:UUID} AND status = 'completed'
GROUP BY product_id
ORDER BY sales DESC, product_id
LIMIT 10

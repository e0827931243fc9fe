-- +goose NO TRANSACTION

-- +goose Up

CREATE OR REPLACE VIEW product_performance
(
    product_id String COMMENT 'The product',
    name String COMMENT 'Name, as products has it',
    category String COMMENT 'Category, as products has it',
    views UInt64 COMMENT 'Events called Product Viewed',
    viewers UInt64 COMMENT 'People who viewed it',
    additions UInt64 COMMENT 'Events called Product Added or Added to Cart',
    adders UInt64 COMMENT 'People who put it into a cart',
    orders UInt64 COMMENT 'Orders with it completed in that time that stand: not cancelled, not refunded',
    customers UInt64 COMMENT 'People who ordered it',
    pieces Decimal(38, 9) COMMENT 'Pieces ordered',
    sales Map(String, Decimal(38, 9)) COMMENT 'Quantities times prices of the orders, by currency: sales[''EUR'']'
)
AS SELECT
    product_id,
    any(p.name) AS name,
    any(p.category) AS category,
    sum(viewed) AS views, sum(view_people) AS viewers,
    sum(added) AS additions, sum(add_people) AS adders,
    sum(ordered) AS orders, sum(order_people) AS customers,
    sum(quantity) AS pieces,
    CAST(mapFromArrays(groupArrayIf(currency, priced), groupArrayIf(amount, priced)), 'Map(String, Decimal(38, 9))') AS sales
FROM
(
    SELECT
        product_id,
        countIf(views) AS viewed, uniqExactIf(profile_id, views) AS view_people,
        countIf(adds) AS added, uniqExactIf(profile_id, adds) AS add_people,
        0 AS ordered, 0 AS order_people, toDecimal128(0, 9) AS quantity, '' AS currency, toDecimal128(0, 9) AS amount, false AS priced
    FROM
    (
        SELECT
            profile_id, product_ids,
            lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) AS plain,
            plain = 'product viewed' AS views,
            plain IN ('product added', 'added to cart') AS adds
        FROM events_resolved
        WHERE tenant_id = {tenant:UUID} AND NOT is_bot AND timestamp >= {since:DateTime} AND timestamp < {until:DateTime}
    )
    ARRAY JOIN product_ids AS product_id
    WHERE views OR adds
    GROUP BY product_id
    UNION ALL
    SELECT product_id, 0, 0, 0, 0, uniqExact(order_id), uniqExact(profile_id), sum(quantity), '', 0, false
    FROM order_items
    WHERE tenant_id = {tenant:UUID} AND status = 'completed' AND completed_at >= {since:DateTime} AND completed_at < {until:DateTime}
    GROUP BY product_id
    UNION ALL
    SELECT product_id, 0, 0, 0, 0, 0, 0, 0, toString(currency), sum(ifNull(amount, 0)), true
    FROM order_items
    WHERE tenant_id = {tenant:UUID} AND status = 'completed' AND completed_at >= {since:DateTime} AND completed_at < {until:DateTime}
    GROUP BY product_id, currency
) AS e
LEFT ANY JOIN (SELECT product_id, name, category FROM products FINAL WHERE tenant_id = {tenant:UUID}) AS p USING (product_id)
GROUP BY product_id
COMMENT 'product_performance(tenant, since, until): one row is one product that was viewed, put into a cart or ordered in that time; bots left out';

-- +goose Down

DROP VIEW IF EXISTS product_performance;

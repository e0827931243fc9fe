-- +goose NO TRANSACTION

-- +goose Up

-- The processor writes an order's currency in upper case, as the sink does an event's.
ALTER TABLE {{.Local "orders"}} COMMENT COLUMN currency 'Currency, upper case: EUR';
{{.Distributed "orders"}}

CREATE OR REPLACE VIEW abandoned_carts
(
    order_id String COMMENT 'The order that was begun',
    profile_id UUID COMMENT 'The live profile it belongs to',
    email String COMMENT 'An email address of the person, the one learned last; empty where none is known',
    last_event DateTime64(3, 'UTC') COMMENT 'Event time of the last event of the order',
    idle_minutes Int64 COMMENT 'Minutes from then to as_of',
    products Array(String) COMMENT 'Products in the cart',
    pieces Decimal(38, 9) COMMENT 'Sum of the quantities',
    worth Decimal(38, 9) COMMENT 'Quantities times prices; a line without a price adds nothing',
    currency String COMMENT 'Currency, upper case: EUR'
)
AS SELECT
    o.order_id AS order_id, o.profile_id AS profile_id, p.email AS email, o.last_event AS last_event,
    dateDiff('minute', o.last_event, {as_of:DateTime}) AS idle_minutes,
    o.items.product_id AS products,
    arraySum(o.items.quantity) AS pieces,
    CAST(arraySum((quantity, price) -> CAST(quantity * ifNull(price, 0), 'Decimal(38, 9)'), o.items.quantity, o.items.price), 'Decimal(38, 9)') AS worth,
    o.currency AS currency
FROM
(
    SELECT * FROM orders FINAL
    WHERE tenant_id = {tenant:UUID} AND status = 'incomplete'
        AND last_event < {as_of:DateTime} - toIntervalMinute({idle_minutes:UInt32})
) AS o
LEFT JOIN
(
    SELECT profile_id, argMax(value, (valid_from, value)) AS email
    FROM identity_map FINAL
    WHERE tenant_id = {tenant:UUID} AND kind = 'email'
    GROUP BY profile_id
) AS p ON p.profile_id = o.profile_id
COMMENT 'abandoned_carts(tenant, as_of, idle_minutes): one row is one order that was begun, is not completed as of now, and was left alone for so many minutes by as_of';

-- +goose Down

CREATE OR REPLACE VIEW abandoned_carts
(
    order_id String COMMENT 'The order that was begun',
    profile_id UUID COMMENT 'The live profile it belongs to',
    email String COMMENT 'An email address of the person, the one learned last; empty where none is known',
    last_event DateTime64(3, 'UTC') COMMENT 'Event time of the last event of the order',
    idle_minutes Int64 COMMENT 'Minutes from then to as_of',
    products Array(String) COMMENT 'Products in the cart',
    pieces Decimal(38, 9) COMMENT 'Sum of the quantities',
    worth Decimal(38, 9) COMMENT 'Quantities times prices; a line without a price adds nothing',
    currency String COMMENT 'Currency, as given'
)
AS SELECT
    o.order_id AS order_id, o.profile_id AS profile_id, p.email AS email, o.last_event AS last_event,
    dateDiff('minute', o.last_event, {as_of:DateTime}) AS idle_minutes,
    o.items.product_id AS products,
    arraySum(o.items.quantity) AS pieces,
    CAST(arraySum((quantity, price) -> CAST(quantity * ifNull(price, 0), 'Decimal(38, 9)'), o.items.quantity, o.items.price), 'Decimal(38, 9)') AS worth,
    o.currency AS currency
FROM
(
    SELECT * FROM orders FINAL
    WHERE tenant_id = {tenant:UUID} AND status = 'incomplete'
        AND last_event < {as_of:DateTime} - toIntervalMinute({idle_minutes:UInt32})
) AS o
LEFT JOIN
(
    SELECT profile_id, argMax(value, (valid_from, value)) AS email
    FROM identity_map FINAL
    WHERE tenant_id = {tenant:UUID} AND kind = 'email'
    GROUP BY profile_id
) AS p ON p.profile_id = o.profile_id
COMMENT 'abandoned_carts(tenant, as_of, idle_minutes): one row is one order that was begun, is not completed as of now, and was left alone for so many minutes by as_of';

ALTER TABLE {{.Local "orders"}} COMMENT COLUMN currency 'Currency, as given';
{{.Distributed "orders"}}

-- +goose NO TRANSACTION

-- +goose Up

CREATE TABLE IF NOT EXISTS {{.Local "orders"}}
(
    tenant_id UUID COMMENT 'The tenant',
    order_id String COMMENT 'The order' CODEC(ZSTD(1)),
    profile_id UUID COMMENT 'The live profile it belongs to' CODEC(ZSTD(1)),
    status LowCardinality(String) COMMENT 'incomplete, completed, cancelled or refunded',
    `items.product_id` Array(String) COMMENT 'Line items: product' CODEC(ZSTD(1)),
    `items.quantity` Array(Decimal(38, 9)) COMMENT 'Line items: quantity, exact to nine places' CODEC(ZSTD(1)),
    `items.price` Array(Nullable(Decimal(38, 9))) COMMENT 'Line items: price of one, exact to nine places; NULL where not given' CODEC(ZSTD(1)),
    `items.name` Array(String) COMMENT 'Line items: name of the product as the event gave it' CODEC(ZSTD(1)),
    `items.category` Array(String) COMMENT 'Line items: category of the product as the event gave it' CODEC(ZSTD(1)),
    total Nullable(Decimal(38, 9)) COMMENT 'Total, exact to nine places; NULL where never given' CODEC(ZSTD(1)),
    currency LowCardinality(String) COMMENT 'Currency, as given',
    tax Nullable(Decimal(38, 9)) COMMENT 'Tax; NULL where never given' CODEC(ZSTD(1)),
    shipping Nullable(Decimal(38, 9)) COMMENT 'Shipping; NULL where never given' CODEC(ZSTD(1)),
    discount Nullable(Decimal(38, 9)) COMMENT 'Discount; NULL where never given' CODEC(ZSTD(1)),
    coupon String COMMENT 'Coupon; empty where never given' CODEC(ZSTD(1)),
    first_event DateTime64(3, 'UTC') COMMENT 'Earliest event time' CODEC(Delta(8), ZSTD(1)),
    last_event DateTime64(3, 'UTC') COMMENT 'Latest event time' CODEC(Delta(8), ZSTD(1)),
    completed_at DateTime64(3, 'UTC') COMMENT 'Event time of completion; 1970-01-01 where not completed' CODEC(Delta(8), ZSTD(1)),
    version UInt64 COMMENT 'Highest counts' CODEC(ZSTD(1))
)
ENGINE = {{.ReplacingMergeTree "version"}}
ORDER BY (tenant_id, order_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is the current state of an order. Read with FINAL. For one row per line item, use order_items';
{{.Distributed "orders"}}

CREATE TABLE IF NOT EXISTS products
(
    tenant_id UUID COMMENT 'The tenant',
    product_id String COMMENT 'The product' CODEC(ZSTD(1)),
    name String COMMENT 'Name; empty where no event gave one' CODEC(ZSTD(1)),
    price Nullable(Decimal(38, 9)) COMMENT 'Price, exact to nine places; NULL where no event gave one' CODEC(ZSTD(1)),
    category LowCardinality(String) COMMENT 'Category; empty where no event gave one',
    skeleton Bool COMMENT 'true while events are all that is known of the product',
    first_seen DateTime64(3, 'UTC') COMMENT 'Event time of the first event that named it' CODEC(Delta(8), ZSTD(1)),
    version UInt64 COMMENT 'Highest counts' CODEC(ZSTD(1))
)
ENGINE = {{.ReplacingMergeTree "version"}}
ORDER BY (tenant_id, product_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is the current state of a product: a skeleton until a catalogue fills it. Read with FINAL';

CREATE OR REPLACE VIEW {{.Local "order_items"}}
(
    tenant_id UUID COMMENT 'The tenant',
    order_id String COMMENT 'The order',
    profile_id UUID COMMENT 'The live profile the order belongs to',
    status LowCardinality(String) COMMENT 'Status of the order: incomplete, completed, cancelled or refunded',
    product_id String COMMENT 'The product',
    quantity Decimal(38, 9) COMMENT 'Quantity',
    price Nullable(Decimal(38, 9)) COMMENT 'Price of one; NULL where not given',
    amount Nullable(Decimal(38, 9)) COMMENT 'Quantity times price; NULL where the price is not given',
    name String COMMENT 'Name of the product: as the event gave it, else as products has it',
    category String COMMENT 'Category of the product: as the event gave it, else as products has it',
    currency LowCardinality(String) COMMENT 'Currency of the order',
    first_event DateTime64(3, 'UTC') COMMENT 'Earliest event time of the order',
    last_event DateTime64(3, 'UTC') COMMENT 'Latest event time of the order',
    completed_at DateTime64(3, 'UTC') COMMENT 'Event time of completion; 1970-01-01 where not completed'
)
AS SELECT
    o.tenant_id AS tenant_id, o.order_id AS order_id, o.profile_id AS profile_id, o.status AS status,
    o.product_id AS product_id, o.quantity AS quantity, o.price AS price,
    CAST(o.quantity * o.price, 'Nullable(Decimal(38, 9))') AS amount,
    if(o.name = '', p.name, o.name) AS name,
    if(o.category = '', CAST(p.category, 'String'), o.category) AS category,
    o.currency AS currency, o.first_event AS first_event, o.last_event AS last_event, o.completed_at AS completed_at
FROM
(
    SELECT
        tenant_id, order_id, profile_id, status, currency, first_event, last_event, completed_at,
        product_id, quantity, price, name, category
    FROM {{.Local "orders"}} FINAL
    ARRAY JOIN
        items.product_id AS product_id, items.quantity AS quantity, items.price AS price,
        items.name AS name, items.category AS category
) AS o
LEFT ANY JOIN (SELECT tenant_id, product_id, name, category FROM products FINAL) AS p
    ON p.tenant_id = o.tenant_id AND p.product_id = o.product_id
COMMENT 'One row is one line item of an order, as of now';
{{.Distributed "order_items"}}

-- +goose Down

{{.Drop "VIEW" "order_items"}}
DROP TABLE IF EXISTS products;
{{.Drop "TABLE" "orders"}}

-- Orders and products. Money is exact decimal text. The keys are hashes of the ids: ids come from
-- shops, often count upwards (a hot range) and have no bounded length (an index entry has).

-- +goose NO TRANSACTION

-- +goose Up
CREATE TABLE IF NOT EXISTS orders (
  tenant_id    UUID NOT NULL,
  order_key    UUID NOT NULL,
  order_id     TEXT NOT NULL,
  profile_id   UUID NOT NULL,
  status       TEXT NOT NULL,
  items        TEXT NOT NULL, -- JSON array of internal/event.OrderItem
  total        TEXT NOT NULL,
  currency     TEXT NOT NULL,
  tax          TEXT NOT NULL,
  shipping     TEXT NOT NULL,
  discount     TEXT NOT NULL,
  coupon       TEXT NOT NULL,
  first_event  TIMESTAMPTZ NOT NULL,
  last_event   TIMESTAMPTZ NOT NULL,
  completed_at TIMESTAMPTZ NOT NULL, -- year 1: not completed
  version      INT8 NOT NULL,
  CONSTRAINT orders_pkey PRIMARY KEY (tenant_id, order_key)
);
CREATE INDEX IF NOT EXISTS orders_profile_idx ON orders (tenant_id, profile_id);

CREATE TABLE IF NOT EXISTS products (
  tenant_id   UUID NOT NULL,
  product_key UUID NOT NULL,
  product_id  TEXT NOT NULL,
  name        TEXT NOT NULL,
  price       TEXT NOT NULL,
  category    TEXT NOT NULL,
  skeleton    BOOL NOT NULL,
  first_seen  TIMESTAMPTZ NOT NULL,
  version     INT8 NOT NULL,
  CONSTRAINT products_pkey PRIMARY KEY (tenant_id, product_key)
);

-- +goose Down
DROP TABLE IF EXISTS products;
DROP TABLE IF EXISTS orders;

-- A message's row is the hash of tenant and message id, which nobody else's has: two random columns in
-- the key are no better than one, and cost. Half of what a remembered message costs was its old row.

-- +goose NO TRANSACTION

-- +goose Up
CREATE TABLE IF NOT EXISTS message_ids (
  message_hash UUID NOT NULL, -- of tenant and message id
  expires_at   TIMESTAMPTZ NOT NULL,
  CONSTRAINT message_ids_pkey PRIMARY KEY (message_hash)
);

-- +goose Down
DROP TABLE IF EXISTS message_ids;

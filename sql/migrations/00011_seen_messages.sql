-- Apart from the copy, so that each can be run again.

-- keystone:contract 10

-- +goose NO TRANSACTION

-- +goose Up
DROP TABLE IF EXISTS seen_messages;

-- +goose Down
CREATE TABLE IF NOT EXISTS seen_messages (
  tenant_id    UUID NOT NULL,
  message_hash UUID NOT NULL,
  expires_at   TIMESTAMPTZ NOT NULL,
  CONSTRAINT seen_messages_pkey PRIMARY KEY (tenant_id, message_hash)
);

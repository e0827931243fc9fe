-- Rows are read before the transaction that writes them, and written only if they are as they were
-- read: their revision says so. It counts the writes of a row from 1, whatever changed.

-- +goose NO TRANSACTION

-- +goose Up
ALTER TABLE profiles ADD COLUMN IF NOT EXISTS revision INT8 NOT NULL DEFAULT 1;
ALTER TABLE orders ADD COLUMN IF NOT EXISTS revision INT8 NOT NULL DEFAULT 1;
ALTER TABLE products ADD COLUMN IF NOT EXISTS revision INT8 NOT NULL DEFAULT 1;

-- +goose Down
ALTER TABLE products DROP COLUMN IF EXISTS revision;
ALTER TABLE orders DROP COLUMN IF EXISTS revision;
ALTER TABLE profiles DROP COLUMN IF EXISTS revision;

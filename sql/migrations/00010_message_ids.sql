-- What is remembered stays remembered. Processors of an older build have to be stopped before: what they
-- count after this would be forgotten, and when their table is gone they stop by themselves.

-- keystone:offline 9

-- +goose NO TRANSACTION

-- +goose Up
INSERT INTO message_ids (message_hash, expires_at)
SELECT message_hash, expires_at
FROM seen_messages
ON CONFLICT (message_hash) DO NOTHING;

-- +goose Down
-- The way back forgets: a hash does not tell whose it is.

-- What is remembered stays remembered. Processors of an older build stop here: their table is going.

-- +goose NO TRANSACTION

-- +goose Up
INSERT INTO message_ids (message_hash, expires_at)
SELECT message_hash, expires_at
FROM seen_messages
ON CONFLICT (message_hash) DO NOTHING;

-- +goose Down
-- The way back forgets: a hash does not tell whose it is.

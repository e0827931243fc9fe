-- Storage parameters that only CockroachDB has. Queues that are written and deleted all the time
-- keep their garbage for ten minutes, not for hours.

-- +goose NO TRANSACTION

-- +goose Up
ALTER TABLE seen_messages SET (ttl_expiration_expression = 'expires_at', ttl_job_cron = '@hourly', ttl_delete_batch_size = 500);
ALTER TABLE processor_offsets CONFIGURE ZONE USING gc.ttlseconds = 600;
ALTER TABLE outbox CONFIGURE ZONE USING gc.ttlseconds = 600;

-- +goose Down
ALTER TABLE outbox CONFIGURE ZONE DISCARD;
ALTER TABLE processor_offsets CONFIGURE ZONE DISCARD;
ALTER TABLE seen_messages RESET (ttl);

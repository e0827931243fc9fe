-- Storage parameters that only PostgreSQL has. Rows updated by nearly every batch get room in their
-- page, so that an update touches no index; the outbox's payload is compressed already.

-- +goose NO TRANSACTION

-- +goose Up
ALTER TABLE profiles SET (fillfactor = 80);
ALTER TABLE processor_offsets SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE outbox ALTER COLUMN payload SET STORAGE EXTERNAL;

-- +goose Down
ALTER TABLE outbox ALTER COLUMN payload SET STORAGE EXTENDED;
ALTER TABLE outbox RESET (autovacuum_vacuum_scale_factor);
ALTER TABLE processor_offsets RESET (fillfactor, autovacuum_vacuum_scale_factor);
ALTER TABLE profiles RESET (fillfactor);

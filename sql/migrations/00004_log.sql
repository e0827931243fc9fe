-- What makes processing exactly once: how far each partition of the log has come, which messages
-- were counted, what is still to be produced, and what could not be processed.

-- +goose NO TRANSACTION

-- +goose Up
CREATE TABLE IF NOT EXISTS processor_offsets (
  topic           TEXT NOT NULL,
  part            INT4 NOT NULL,
  next_offset     INT8 NOT NULL,
  epoch           INT8 NOT NULL, -- +1 per claim: a former owner's compare-and-set fails
  owner           TEXT NOT NULL, -- for people
  last_created_at TIMESTAMPTZ NOT NULL, -- the created_at last given on this partition
  updated_at      TIMESTAMPTZ NOT NULL,
  CONSTRAINT processor_offsets_pkey PRIMARY KEY (topic, part)
);

-- No index on the time: it would be a hot tail. Rows leave by row-level TTL or by a sweep along the
-- primary key (00005).
CREATE TABLE IF NOT EXISTS seen_messages (
  tenant_id    UUID NOT NULL,
  message_hash UUID NOT NULL, -- of tenant and message id
  expires_at   TIMESTAMPTZ NOT NULL,
  CONSTRAINT seen_messages_pkey PRIMARY KEY (tenant_id, message_hash)
);

-- One row per batch, written with it, drained by the worker that owns the partition.
CREATE TABLE IF NOT EXISTS outbox (
  topic         TEXT NOT NULL,
  part          INT4 NOT NULL,
  source_offset INT8 NOT NULL, -- the next offset after the batch
  payload       BYTEA NOT NULL, -- processor/outbox's records
  CONSTRAINT outbox_pkey PRIMARY KEY (topic, part, source_offset)
);

CREATE TABLE IF NOT EXISTS dead_letters (
  tenant_id     UUID NOT NULL, -- nil: the record names none
  topic         TEXT NOT NULL,
  part          INT4 NOT NULL,
  source_offset INT8 NOT NULL, -- of the record itself
  job_id        TEXT NOT NULL, -- empty: not of a batch
  reason        TEXT NOT NULL,
  detail        TEXT NOT NULL,
  created_at    TIMESTAMPTZ NOT NULL,
  CONSTRAINT dead_letters_pkey PRIMARY KEY (tenant_id, topic, part, source_offset)
);
CREATE INDEX IF NOT EXISTS dead_letters_job_idx ON dead_letters (tenant_id, job_id) WHERE job_id <> '';

-- Who does a thing that only one may do at a time.
CREATE TABLE IF NOT EXISTS leases (
  name       TEXT NOT NULL,
  holder     TEXT NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL,
  CONSTRAINT leases_pkey PRIMARY KEY (name)
);

-- +goose Down
DROP TABLE IF EXISTS leases;
DROP TABLE IF EXISTS dead_letters;
DROP TABLE IF EXISTS outbox;
DROP TABLE IF EXISTS seen_messages;
DROP TABLE IF EXISTS processor_offsets;

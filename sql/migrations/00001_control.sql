-- Control plane: who may send what. Small tables, read through caches.

-- +goose NO TRANSACTION

-- +goose Up
CREATE TABLE IF NOT EXISTS tenants (
  tenant_id  UUID NOT NULL,
  slug       TEXT NOT NULL,
  name       TEXT NOT NULL,
  settings   TEXT NOT NULL, -- JSON, internal/event.Settings
  created_at TIMESTAMPTZ NOT NULL,
  CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS tenants_slug_key ON tenants (slug);

-- A key is looked up by the hash of its secret, which is uniform; the secret itself is nowhere.
CREATE TABLE IF NOT EXISTS api_keys (
  key_hash        BYTEA NOT NULL,
  key_id          TEXT NOT NULL, -- public: for logs, headers and revocation
  tenant_id       UUID NOT NULL,
  scope           TEXT NOT NULL,
  label           TEXT NOT NULL,
  origins         TEXT[] NOT NULL,
  rate_per_second FLOAT8 NOT NULL, -- 0: the edge's default
  burst           INT4 NOT NULL,   -- 0: the edge's default
  created_at      TIMESTAMPTZ NOT NULL,
  revoked_at      TIMESTAMPTZ,
  CONSTRAINT api_keys_pkey PRIMARY KEY (key_hash),
  CONSTRAINT api_keys_hash_length CHECK (octet_length(key_hash) = 32),
  CONSTRAINT api_keys_scope CHECK (scope IN ('tracker', 'integration'))
);
CREATE UNIQUE INDEX IF NOT EXISTS api_keys_id_key ON api_keys (key_id);
CREATE INDEX IF NOT EXISTS api_keys_tenant_idx ON api_keys (tenant_id);

-- One HTTP batch. Its progress is not written down event by event: it follows from where its events
-- lie in the log (chunks) and how far the processor has come (processor_offsets).
CREATE TABLE IF NOT EXISTS ingest_jobs (
  tenant_id  UUID NOT NULL,
  job_id     UUID NOT NULL,
  accepted   INT8 NOT NULL,
  rejected   INT8 NOT NULL,
  chunks     TEXT[] NOT NULL, -- each JSON: {"topic","partition","last_offset","count"}
  created_at TIMESTAMPTZ NOT NULL,
  CONSTRAINT ingest_jobs_pkey PRIMARY KEY (tenant_id, job_id)
);

-- +goose Down
DROP TABLE IF EXISTS ingest_jobs;
DROP TABLE IF EXISTS api_keys;
DROP TABLE IF EXISTS tenants;

-- Tenants, keys and ingest jobs.

-- name: tenant_create
INSERT INTO tenants (tenant_id, slug, name, settings, created_at)
VALUES ($1::UUID, $2::TEXT, $3::TEXT, $4::TEXT, $5::TIMESTAMPTZ);

-- name: tenant_list
SELECT tenant_id, slug, name, settings, created_at
FROM tenants
ORDER BY slug;

-- name: tenant_by_slug
SELECT tenant_id, slug, name, settings, created_at
FROM tenants
WHERE slug = $1::TEXT;

-- name: tenant_by_id
SELECT tenant_id, slug, name, settings, created_at
FROM tenants
WHERE tenant_id = $1::UUID;

-- name: tenant_settings
-- For the processor's cache: the rules of identity of these tenants.
SELECT tenant_id, settings
FROM tenants
WHERE tenant_id = ANY ($1::UUID[]);

-- name: tenant_lock
-- Who changes settings reads them first: no other change comes between.
SELECT settings
FROM tenants
WHERE tenant_id = $1::UUID
FOR UPDATE;

-- name: tenant_set_settings
UPDATE tenants
SET settings = $2::TEXT
WHERE tenant_id = $1::UUID;

-- name: key_create
INSERT INTO api_keys (key_hash, key_id, tenant_id, scope, label, origins, rate_per_second, burst, created_at)
VALUES ($1::BYTEA, $2::TEXT, $3::UUID, $4::TEXT, $5::TEXT, $6::TEXT[], $7::FLOAT8, $8::INT4, $9::TIMESTAMPTZ);

-- name: key_list
SELECT key_id, tenant_id, scope, label, origins, rate_per_second, burst, created_at, revoked_at
FROM api_keys
WHERE tenant_id = $1::UUID
ORDER BY created_at, key_id;

-- name: key_set
-- What is not given stays. A revoked key stays as it was.
UPDATE api_keys
SET label = COALESCE($3::TEXT, label), origins = COALESCE($4::TEXT[], origins),
  rate_per_second = COALESCE($5::FLOAT8, rate_per_second), burst = COALESCE($6::INT4, burst)
WHERE key_id = $2::TEXT AND tenant_id = $1::UUID AND revoked_at IS NULL;

-- name: key_revoke
-- Revoking twice keeps the first time.
UPDATE api_keys
SET revoked_at = COALESCE(revoked_at, $3::TIMESTAMPTZ)
WHERE key_id = $2::TEXT AND tenant_id = $1::UUID;

-- name: key_lookup
SELECT k.key_id, k.tenant_id, k.scope, k.origins, k.rate_per_second, k.burst, t.settings
FROM api_keys AS k
JOIN tenants AS t ON t.tenant_id = k.tenant_id
WHERE k.key_hash = $1::BYTEA AND k.revoked_at IS NULL;

-- name: job_save
INSERT INTO ingest_jobs (tenant_id, job_id, accepted, rejected, chunks, created_at)
VALUES ($1::UUID, $2::UUID, $3::INT8, $4::INT8, $5::TEXT[], $6::TIMESTAMPTZ)
ON CONFLICT (tenant_id, job_id) DO UPDATE SET
  accepted = excluded.accepted, rejected = excluded.rejected, chunks = excluded.chunks;

-- name: job_append
UPDATE ingest_jobs
SET accepted = accepted + $3::INT8, rejected = rejected + $4::INT8, chunks = chunks || $5::TEXT[]
WHERE tenant_id = $1::UUID AND job_id = $2::UUID;

-- name: job_load
SELECT accepted, rejected, chunks, created_at
FROM ingest_jobs
WHERE tenant_id = $1::UUID AND job_id = $2::UUID;

-- name: job_failed
-- One that was replayed is on its way again: should it fail once more, it is another letter of the job.
SELECT count(*)
FROM dead_letters
WHERE tenant_id = $1::UUID AND job_id = $2::TEXT AND job_id <> '' AND state <> 'replayed';

-- name: key_delete
-- For keys of a command that needed one for a moment, once it is done, or has died: nobody ever gave them out.
DELETE FROM api_keys
WHERE tenant_id = $1::UUID AND (key_id = $2::TEXT OR created_at < $3::TIMESTAMPTZ);

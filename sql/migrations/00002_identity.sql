-- Profiles and what names them. JSON is TEXT: JSONB cannot hold NUL, rewrites numbers and refuses
-- large exponents, and nothing queries inside. A time that is not known is the year 1, so that no
-- column is nullable but merged_into.

-- +goose NO TRANSACTION

-- +goose Up
CREATE TABLE IF NOT EXISTS profiles (
  tenant_id      UUID NOT NULL,
  profile_id     UUID NOT NULL, -- the node id of the identifier that created it
  kind           TEXT NOT NULL,
  attributes     TEXT NOT NULL, -- JSON object
  first_seen     TIMESTAMPTZ NOT NULL,
  last_seen      TIMESTAMPTZ NOT NULL,
  event_count    INT8 NOT NULL,
  track_count    INT8 NOT NULL,
  page_count     INT8 NOT NULL,
  identify_count INT8 NOT NULL,
  attributes_at  TIMESTAMPTZ NOT NULL, -- year 1: no identify yet
  version        INT8 NOT NULL,
  created_at     TIMESTAMPTZ NOT NULL,
  updated_at     TIMESTAMPTZ NOT NULL,
  merged_into    UUID,                 -- set: a tombstone
  owned          TEXT NOT NULL,        -- identifiers by kind, "anonymous=2 email=1"
  spans          INT4 NOT NULL,        -- closed spans it owns
  orders         INT4 NOT NULL,        -- orders it owns
  CONSTRAINT profiles_pkey PRIMARY KEY (tenant_id, profile_id),
  CONSTRAINT profiles_kind CHECK (kind IN ('shadow', 'anchor'))
);
-- Chains of tombstones are compressed by this.
CREATE INDEX IF NOT EXISTS profiles_merged_into_idx ON profiles (tenant_id, merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE IF NOT EXISTS identifiers (
  tenant_id  UUID NOT NULL,
  node_id    UUID NOT NULL,
  kind       TEXT NOT NULL,
  value      TEXT NOT NULL,
  profile_id UUID NOT NULL,
  valid_from TIMESTAMPTZ NOT NULL, -- of this owner; year 1: since ever
  version    INT8 NOT NULL,
  CONSTRAINT identifiers_pkey PRIMARY KEY (tenant_id, node_id)
);
-- The identifier that created its owner has the owner's id and is found by its primary key: an
-- ordinary visitor, with one device, costs no entry here.
CREATE INDEX IF NOT EXISTS identifiers_profile_idx ON identifiers (tenant_id, profile_id) WHERE profile_id <> node_id;

CREATE TABLE IF NOT EXISTS identifier_spans (
  tenant_id  UUID NOT NULL,
  node_id    UUID NOT NULL,
  valid_from TIMESTAMPTZ NOT NULL, -- year 1: since ever; until the node's next span
  kind       TEXT NOT NULL,
  value      TEXT NOT NULL,
  profile_id UUID NOT NULL,
  version    INT8 NOT NULL,
  CONSTRAINT identifier_spans_pkey PRIMARY KEY (tenant_id, node_id, valid_from)
);
CREATE INDEX IF NOT EXISTS identifier_spans_profile_idx ON identifier_spans (tenant_id, profile_id);

CREATE TABLE IF NOT EXISTS profile_merges (
  tenant_id UUID NOT NULL,
  merge_id  UUID NOT NULL,
  winner_id UUID NOT NULL,
  loser_id  UUID NOT NULL,
  merged_at TIMESTAMPTZ NOT NULL,
  body      TEXT NOT NULL, -- JSON, internal/event.Merge: enough to undo it
  CONSTRAINT profile_merges_pkey PRIMARY KEY (tenant_id, merge_id)
);

CREATE TABLE IF NOT EXISTS identity_conflicts (
  tenant_id   UUID NOT NULL,
  conflict_id UUID NOT NULL,
  message_id  TEXT NOT NULL,
  profile_id  UUID NOT NULL,
  reason      TEXT NOT NULL,
  node_id     UUID NOT NULL, -- nil where no identifier stated it
  kind        TEXT NOT NULL,
  value       TEXT NOT NULL,
  limit_kind  TEXT NOT NULL,
  other_id    UUID NOT NULL, -- nil: none
  event_time  TIMESTAMPTZ NOT NULL,
  received_at TIMESTAMPTZ NOT NULL,
  CONSTRAINT identity_conflicts_pkey PRIMARY KEY (tenant_id, conflict_id)
);

-- One row per version of a profile, not per leaf: rows written per event are what costs.
CREATE TABLE IF NOT EXISTS attribute_changes (
  tenant_id  UUID NOT NULL,
  profile_id UUID NOT NULL,
  version    INT8 NOT NULL,
  changes    TEXT NOT NULL, -- JSON array of internal/event.AttributeChange
  CONSTRAINT attribute_changes_pkey PRIMARY KEY (tenant_id, profile_id, version)
);

-- +goose Down
DROP TABLE IF EXISTS attribute_changes;
DROP TABLE IF EXISTS identity_conflicts;
DROP TABLE IF EXISTS profile_merges;
DROP TABLE IF EXISTS identifier_spans;
DROP TABLE IF EXISTS identifiers;
DROP TABLE IF EXISTS profiles;

-- People who are erased (ADR 3). What is gone of an identifier's history is said by its own row, so that whoever
-- reads whom an event names knows it, without another statement. An identifier that is nobody's any more has no
-- kind and no value, and belongs to its tenant's grave: the row says that there was something, and not what.

-- +goose NO TRANSACTION

-- +goose Up
ALTER TABLE identifiers ADD COLUMN IF NOT EXISTS erased TEXT NOT NULL DEFAULT ''; -- JSON array of internal/event.Erasure; empty: nothing

CREATE TABLE IF NOT EXISTS erasures (
  tenant_id  UUID NOT NULL,
  erasure_id UUID NOT NULL,
  state      TEXT NOT NULL, -- how far it has come: stored, announced, removed, done
  record     TEXT NOT NULL, -- JSON, the receipt; nothing personal is in it
  started_at TIMESTAMPTZ NOT NULL,
  CONSTRAINT erasures_pkey PRIMARY KEY (tenant_id, erasure_id)
);

-- +goose Down
DROP TABLE IF EXISTS erasures;
ALTER TABLE identifiers DROP COLUMN IF EXISTS erased;

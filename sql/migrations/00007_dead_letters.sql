-- A dead letter has a life after its failure: it is replayed or dropped, and by whom is kept. Rows that
-- were there before are open, after one attempt as far as anybody knows.

-- +goose NO TRANSACTION

-- +goose Up
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS attempts INT4 NOT NULL DEFAULT 1; -- times it was given up, replays before it included
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS state TEXT NOT NULL DEFAULT 'open'; -- open, replaying, replayed, dropped
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS changed_at TIMESTAMPTZ NOT NULL DEFAULT '0001-01-01 00:00:00+00'; -- of state; year 1: never
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS changed_by TEXT NOT NULL DEFAULT ''; -- the command, for people
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS why TEXT NOT NULL DEFAULT ''; -- in the operator's words
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS replayed_offset INT8 NOT NULL DEFAULT -1; -- of the same partition; -1: never
-- People name a letter by its place, without the tenant. Few rows: a hot tail would not be noticed.
CREATE INDEX IF NOT EXISTS dead_letters_place_idx ON dead_letters (topic, part, source_offset);

-- +goose Down
DROP INDEX IF EXISTS dead_letters_place_idx;
ALTER TABLE dead_letters DROP COLUMN IF EXISTS replayed_offset;
ALTER TABLE dead_letters DROP COLUMN IF EXISTS why;
ALTER TABLE dead_letters DROP COLUMN IF EXISTS changed_by;
ALTER TABLE dead_letters DROP COLUMN IF EXISTS changed_at;
ALTER TABLE dead_letters DROP COLUMN IF EXISTS state;
ALTER TABLE dead_letters DROP COLUMN IF EXISTS attempts;

-- Merges can be taken back. One in force has no undone_at. Who looks for the merge that made a
-- tombstone has its loser; who looks for what was taken back has the winner, and there is little of it.

-- +goose NO TRANSACTION

-- +goose Up
ALTER TABLE profile_merges ADD COLUMN IF NOT EXISTS undone_at TIMESTAMPTZ;
CREATE INDEX IF NOT EXISTS profile_merges_loser_idx ON profile_merges (tenant_id, loser_id);
CREATE INDEX IF NOT EXISTS profile_merges_undone_idx ON profile_merges (tenant_id, winner_id) WHERE undone_at IS NOT NULL;

-- +goose Down
DROP INDEX IF EXISTS profile_merges_undone_idx;
DROP INDEX IF EXISTS profile_merges_loser_idx;
ALTER TABLE profile_merges DROP COLUMN IF EXISTS undone_at;

-- How far each partition of the log has come.

-- name: offset_claim
-- Takes a partition over: whoever had it before has an old epoch, and its next compare-and-set fails.
INSERT INTO processor_offsets AS o (topic, part, next_offset, epoch, owner, last_created_at, updated_at)
VALUES ($1::TEXT, $2::INT4, 0, 1, $3::TEXT, $4::TIMESTAMPTZ, now())
ON CONFLICT (topic, part) DO UPDATE SET epoch = o.epoch + 1, owner = excluded.owner, updated_at = excluded.updated_at
RETURNING next_offset, epoch;

-- name: offset_fence
-- The first statement of a batch: whoever finds another epoch has lost the partition.
SELECT next_offset, epoch, last_created_at
FROM processor_offsets
WHERE topic = $1::TEXT AND part = $2::INT4
FOR UPDATE;

-- name: offset_move
-- The last statement of a batch. One row, or the transaction must not commit.
UPDATE processor_offsets
SET next_offset = $5::INT8, last_created_at = $6::TIMESTAMPTZ, updated_at = $7::TIMESTAMPTZ
WHERE topic = $1::TEXT AND part = $2::INT4 AND next_offset = $3::INT8 AND epoch = $4::INT8;

-- name: offset_read
-- After a commit nobody acknowledged: has it happened?
SELECT next_offset, epoch
FROM processor_offsets
WHERE topic = $1::TEXT AND part = $2::INT4;

-- name: offset_list
-- For lag and for the progress of ingest jobs.
SELECT topic, part, next_offset, owner, updated_at
FROM processor_offsets
ORDER BY topic, part;

-- name: offset_reset
-- The log is not the one it was: keystone recover. Whoever had the partition is fenced off.
UPDATE processor_offsets
SET next_offset = $4::INT8, epoch = epoch + 1, owner = $5::TEXT, updated_at = now()
WHERE topic = $1::TEXT AND part = $2::INT4 AND next_offset = $3::INT8;

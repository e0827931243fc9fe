-- What was committed and is still to be produced.

-- name: outbox_save
INSERT INTO outbox (topic, part, source_offset, payload)
VALUES ($1::TEXT, $2::INT4, $3::INT8, $4::BYTEA);

-- name: outbox_load
-- Left over by an owner that died between commit and deletion. In the order of the log.
SELECT source_offset, payload
FROM outbox
WHERE topic = $1::TEXT AND part = $2::INT4 AND source_offset > $3::INT8
ORDER BY source_offset
LIMIT $4::INT8;

-- name: outbox_delete
-- Up to what is now produced.
DELETE FROM outbox
WHERE topic = $1::TEXT AND part = $2::INT4 AND source_offset <= $3::INT8;

-- name: outbox_pending
-- Committed batches that are not produced yet, per partition.
SELECT topic, part, count(*), min(source_offset)
FROM outbox
GROUP BY topic, part
ORDER BY topic, part;

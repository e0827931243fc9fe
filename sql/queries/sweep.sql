-- Forgetting message ids, where the database has no row-level TTL.

-- name: lease_take
-- Whoever gets the row back may do the thing until then.
INSERT INTO leases AS l (name, holder, expires_at)
VALUES ($1::TEXT, $2::TEXT, $3::TIMESTAMPTZ)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE l.expires_at <= $4::TIMESTAMPTZ
RETURNING holder;

-- name: seen_page
-- A page of the sweep along the primary key ends here.
SELECT message_hash
FROM message_ids
WHERE message_hash > $1::UUID
ORDER BY message_hash
LIMIT 1 OFFSET $2::INT8;

-- name: seen_sweep
DELETE FROM message_ids
WHERE message_hash > $1::UUID AND message_hash <= $2::UUID AND expires_at < $3::TIMESTAMPTZ;

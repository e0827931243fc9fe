-- What is known of one profile, and why. Statements of the exports, for one.

-- name: explain_profile
SELECT p.profile_id, p.kind, p.attributes, p.first_seen, p.last_seen, p.event_count, p.track_count,
       p.page_count, p.identify_count, p.attributes_at, p.version, p.created_at, p.updated_at, p.merged_into
FROM profiles AS p
WHERE p.tenant_id = $1::UUID AND p.profile_id = $2::UUID;

-- name: explain_creator
-- A profile has the id of the identifier that made it.
SELECT i.node_id, i.kind, i.value, i.profile_id, i.valid_from, i.version
FROM identifiers AS i
WHERE i.tenant_id = $1::UUID AND i.node_id = $2::UUID AND i.kind <> '';

-- name: explain_merges
-- By which a profile got what it has, or went where it is; those taken back as well.
SELECT m.body, m.undone_at
FROM profiles AS p
JOIN profile_merges AS m ON m.tenant_id = p.tenant_id AND m.loser_id = p.profile_id
WHERE p.tenant_id = $1::UUID AND p.merged_into = $2::UUID AND p.merged_into IS NOT NULL AND m.undone_at IS NULL
UNION ALL
SELECT n.body, n.undone_at
FROM profile_merges AS n
WHERE n.tenant_id = $1::UUID AND n.winner_id = $2::UUID AND n.undone_at IS NOT NULL
UNION ALL
SELECT l.body, l.undone_at
FROM profile_merges AS l
WHERE l.tenant_id = $1::UUID AND l.loser_id = $2::UUID AND l.undone_at IS NOT NULL;

-- name: explain_conflicts
-- What was refused of these profiles, or because of them, or of these identifiers. No index says who is in a
-- conflict, for it would cost each write of one: this reads all of the tenant's.
SELECT c.conflict_id, c.message_id, c.profile_id, c.reason, c.node_id, c.kind, c.value, c.limit_kind, c.other_id,
       c.event_time, c.received_at
FROM identity_conflicts AS c
WHERE c.tenant_id = $1::UUID
  AND (c.profile_id = ANY ($2::UUID[]) OR c.other_id = ANY ($2::UUID[]) OR c.node_id = ANY ($3::UUID[]))
ORDER BY c.received_at DESC, c.conflict_id DESC
LIMIT $4::INT8;

-- name: explain_lineage
SELECT a.version, a.changes
FROM attribute_changes AS a
WHERE a.tenant_id = $1::UUID AND a.profile_id = $2::UUID AND a.version > $3::INT8
ORDER BY a.version
LIMIT $4::INT8;

-- Taking a merge back. One at a time, and few rows: nothing here is hot.

-- name: unmerge_record
-- Locked: two that take the same merge back do it one after the other.
SELECT m.body, m.undone_at
FROM profile_merges AS m
WHERE m.tenant_id = $1::UUID AND m.merge_id = $2::UUID
FOR UPDATE;

-- name: unmerge_profiles
SELECT p.tenant_id, p.profile_id, p.kind, p.attributes, p.first_seen, p.last_seen, p.event_count, p.track_count,
       p.page_count, p.identify_count, p.attributes_at, p.version, p.created_at, p.updated_at, p.merged_into,
       p.owned, p.spans, p.orders, p.revision
FROM profiles AS p
WHERE p.tenant_id = $1::UUID AND p.profile_id = ANY($2::UUID[])
ORDER BY p.profile_id
FOR UPDATE OF p;

-- name: unmerge_went
-- The tombstones that point at a profile, and what each went into directly.
SELECT m.loser_id, m.winner_id, m.merge_id
FROM profiles AS p
JOIN profile_merges AS m ON m.tenant_id = p.tenant_id AND m.loser_id = p.profile_id
WHERE p.tenant_id = $1::UUID AND p.merged_into = $2::UUID AND p.merged_into IS NOT NULL AND m.undone_at IS NULL
ORDER BY m.loser_id;

-- name: unmerge_later
SELECT m.body
FROM profile_merges AS m
WHERE m.tenant_id = $1::UUID AND m.merge_id = ANY($2::UUID[]);

-- name: unmerge_identifiers
SELECT i.tenant_id, i.node_id, i.kind, i.value, i.profile_id, i.valid_from, i.version, i.erased
FROM identifiers AS i
WHERE i.tenant_id = $1::UUID AND i.node_id = ANY($2::UUID[]);

-- name: unmerge_spans
SELECT s.tenant_id, s.node_id, s.kind, s.value, s.profile_id, s.valid_from, s.version
FROM identifier_spans AS s
WHERE s.tenant_id = $1::UUID AND s.node_id = ANY($2::UUID[]);

-- name: unmerge_orders
SELECT o.tenant_id, o.order_id, o.profile_id, o.status, o.items, o.total, o.currency, o.tax, o.shipping,
       o.discount, o.coupon, o.first_event, o.last_event, o.completed_at, o.version, o.revision
FROM orders AS o
WHERE o.tenant_id = $1::UUID AND o.order_key = ANY($2::UUID[]);

-- name: unmerge_lineage
SELECT a.changes
FROM attribute_changes AS a
WHERE a.tenant_id = $1::UUID AND a.profile_id = $2::UUID AND a.version >= $3::INT8
ORDER BY a.version;

-- name: unmerge_followers
-- Tombstones that had gone into the loser before it went.
UPDATE profiles
SET merged_into = $3::UUID
WHERE tenant_id = $1::UUID AND profile_id = ANY($2::UUID[]);

-- name: unmerge_amend
-- A merge by which what has now left went further.
UPDATE profile_merges
SET body = $3::TEXT
WHERE tenant_id = $1::UUID AND merge_id = $2::UUID;

-- name: unmerge_done
UPDATE profile_merges
SET undone_at = $3::TIMESTAMPTZ
WHERE tenant_id = $1::UUID AND merge_id = $2::UUID AND undone_at IS NULL;

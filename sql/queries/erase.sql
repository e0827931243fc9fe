-- Erasing a person. One at a time, and few: nothing here is hot. No row goes that a batch may have read and that
-- vouches for others: profiles and identifiers stay, with nothing in them, at another revision or version.

-- name: erase_grave
INSERT INTO profiles (tenant_id, profile_id, kind, attributes, first_seen, last_seen, event_count, track_count, page_count,
                      identify_count, attributes_at, version, created_at, updated_at, owned, spans, orders)
VALUES ($1::UUID, $2::UUID, 'shadow', '{}', $3::TIMESTAMPTZ, $3::TIMESTAMPTZ, 0, 0, 0, 0, $3::TIMESTAMPTZ, 1, $3::TIMESTAMPTZ,
        $3::TIMESTAMPTZ, '', 0, 0)
ON CONFLICT (tenant_id, profile_id) DO NOTHING;

-- name: erase_profiles
-- Those named, and those that went into them, but for the ones in their grave.
SELECT p.profile_id, p.last_seen, p.created_at, p.event_count
FROM profiles AS p
WHERE p.tenant_id = $1::UUID AND p.profile_id = ANY($2::UUID[]) AND (p.merged_into IS NULL OR p.merged_into <> $3::UUID)
UNION
SELECT q.profile_id, q.last_seen, q.created_at, q.event_count
FROM profiles AS q
WHERE q.tenant_id = $1::UUID AND q.merged_into = ANY($2::UUID[]) AND q.merged_into IS NOT NULL AND q.merged_into <> $3::UUID;

-- name: erase_identifiers
-- All that is known of these nodes: the present span, then the closed ones.
SELECT i.node_id, i.profile_id, i.valid_from, i.version, i.erased, i.kind, true
FROM identifiers AS i
WHERE i.tenant_id = $1::UUID AND i.node_id = ANY($2::UUID[])
UNION ALL
SELECT s.node_id, s.profile_id, s.valid_from, s.version, '', s.kind, false
FROM identifier_spans AS s
WHERE s.tenant_id = $1::UUID AND s.node_id = ANY($2::UUID[]);

-- name: erase_blank_profiles
-- Into the grave with them, with nothing left.
UPDATE profiles
SET kind = 'shadow', attributes = '{}', first_seen = $4::TIMESTAMPTZ, last_seen = $4::TIMESTAMPTZ, event_count = 0, track_count = 0,
    page_count = 0, identify_count = 0, attributes_at = $4::TIMESTAMPTZ, version = version + 1, created_at = $4::TIMESTAMPTZ,
    updated_at = $5::TIMESTAMPTZ, merged_into = $3::UUID, owned = '', spans = 0, orders = 0, revision = revision + 1
WHERE tenant_id = $1::UUID AND profile_id = ANY($2::UUID[]);

-- name: erase_blank_identifiers
-- Nobody's, or new to this store. When the last span began stays: it ends the one before, which may be somebody else's.
INSERT INTO identifiers AS i (tenant_id, node_id, kind, value, profile_id, valid_from, version, erased)
SELECT $1::UUID, unnest($3::UUID[]), '', '', $2::UUID, $5::TIMESTAMPTZ, 1, unnest($4::TEXT[])
ON CONFLICT (tenant_id, node_id) DO UPDATE SET
  kind = '', value = '', profile_id = excluded.profile_id, version = i.version + 1, erased = excluded.erased;

-- name: erase_mark_identifiers
-- Somebody else's by now.
UPDATE identifiers AS i
SET erased = u.e, version = i.version + 1
FROM unnest($2::UUID[], $3::TEXT[]) AS u(n, e)
WHERE i.tenant_id = $1::UUID AND i.node_id = u.n;

-- name: erase_touch_profiles
-- The owners of those: a batch that read the identifier before must not write.
UPDATE profiles
SET revision = revision + 1
WHERE tenant_id = $1::UUID AND profile_id = ANY($2::UUID[]);

-- name: erase_spans
DELETE FROM identifier_spans
WHERE tenant_id = $1::UUID AND profile_id = ANY($2::UUID[]);

-- name: erase_merges_lost
-- Also those taken back: they hold what both had.
DELETE FROM profile_merges
WHERE tenant_id = $1::UUID AND loser_id = ANY($2::UUID[]);

-- name: erase_merges_undone
DELETE FROM profile_merges
WHERE tenant_id = $1::UUID AND winner_id = ANY($2::UUID[]) AND undone_at IS NOT NULL;

-- name: erase_lineage
-- A page.
DELETE FROM attribute_changes
WHERE (tenant_id, profile_id, version) IN (
  SELECT a.tenant_id, a.profile_id, a.version
  FROM attribute_changes AS a
  WHERE a.tenant_id = $1::UUID AND a.profile_id = ANY($2::UUID[])
  LIMIT $3::INT8);

-- name: erase_orders
-- A page.
DELETE FROM orders
WHERE (tenant_id, order_key) IN (
  SELECT o.tenant_id, o.order_key
  FROM orders AS o
  WHERE o.tenant_id = $1::UUID AND o.profile_id = ANY($2::UUID[])
  LIMIT $3::INT8);

-- name: erase_conflict_page
SELECT c.conflict_id, c.profile_id = ANY($4::UUID[]) OR c.node_id = ANY($5::UUID[]), c.other_id = ANY($4::UUID[])
FROM identity_conflicts AS c
WHERE c.tenant_id = $1::UUID AND c.conflict_id > $2::UUID
ORDER BY c.conflict_id
LIMIT $3::INT8;

-- name: erase_conflicts
DELETE FROM identity_conflicts
WHERE tenant_id = $1::UUID AND conflict_id = ANY($2::UUID[]);

-- name: erase_conflict_others
-- Somebody else's, that met an erased one.
UPDATE identity_conflicts
SET other_id = $3::UUID
WHERE tenant_id = $1::UUID AND conflict_id = ANY($2::UUID[]);

-- name: erase_count_lineage
SELECT count(*)
FROM attribute_changes
WHERE tenant_id = $1::UUID AND profile_id = ANY($2::UUID[]);

-- name: erase_count_orders
SELECT count(*)
FROM orders
WHERE tenant_id = $1::UUID AND profile_id = ANY($2::UUID[]);

-- name: erase_count_merges
SELECT count(*)
FROM profile_merges
WHERE tenant_id = $1::UUID AND (loser_id = ANY($2::UUID[]) OR winner_id = ANY($2::UUID[]));

-- name: erase_outbox
SELECT topic, part, source_offset, payload
FROM outbox
WHERE (topic, part, source_offset) > ($1::TEXT, $2::INT4, $3::INT8)
ORDER BY topic, part, source_offset
LIMIT $4::INT8;

-- name: erase_outbox_save
UPDATE outbox
SET payload = $4::BYTEA
WHERE topic = $1::TEXT AND part = $2::INT4 AND source_offset = $3::INT8;

-- name: erasure_save
INSERT INTO erasures (tenant_id, erasure_id, state, record, started_at)
VALUES ($1::UUID, $2::UUID, $3::TEXT, $4::TEXT, $5::TIMESTAMPTZ)
ON CONFLICT (tenant_id, erasure_id) DO UPDATE SET state = excluded.state, record = excluded.record;

-- name: erasure_list
SELECT e.record
FROM erasures AS e
WHERE e.tenant_id = $1::UUID
ORDER BY e.started_at, e.erasure_id;

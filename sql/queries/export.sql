-- Reading a tenant's state back, page by page along the primary keys. Pages are separate
-- transactions: a profile is consistent in itself, the whole only while nothing is processed.

-- name: export_profiles
SELECT p.profile_id, p.kind, p.attributes, p.first_seen, p.last_seen, p.event_count, p.track_count,
       p.page_count, p.identify_count, p.attributes_at, p.version, p.created_at, p.updated_at, p.merged_into
FROM profiles AS p
WHERE p.tenant_id = $1::UUID AND p.profile_id > $2::UUID
ORDER BY p.profile_id
LIMIT $3::INT8;

-- name: export_identifiers
SELECT i.node_id, i.kind, i.value, i.profile_id, i.valid_from, i.version
FROM identifiers AS i
WHERE i.tenant_id = $1::UUID AND i.node_id > $2::UUID AND i.kind <> ''
ORDER BY i.node_id
LIMIT $3::INT8;

-- name: export_spans
-- The former spans of a page of identifiers.
SELECT s.node_id, s.kind, s.value, s.profile_id, s.valid_from, s.version
FROM unnest($2::UUID[]) AS u(n)
JOIN identifier_spans AS s ON s.tenant_id = $1::UUID AND s.node_id = u.n
ORDER BY s.node_id, s.valid_from;

-- name: export_merges
SELECT m.merge_id, m.body, m.undone_at
FROM profile_merges AS m
WHERE m.tenant_id = $1::UUID AND m.merge_id > $2::UUID
ORDER BY m.merge_id
LIMIT $3::INT8;

-- name: export_conflicts
SELECT c.conflict_id, c.message_id, c.profile_id, c.reason, c.node_id, c.kind, c.value, c.limit_kind, c.other_id,
       c.event_time, c.received_at
FROM identity_conflicts AS c
WHERE c.tenant_id = $1::UUID AND c.conflict_id > $2::UUID
ORDER BY c.conflict_id
LIMIT $3::INT8;

-- name: export_lineage
SELECT a.profile_id, a.version, a.changes
FROM attribute_changes AS a
WHERE a.tenant_id = $1::UUID AND (a.profile_id, a.version) > ($2::UUID, $3::INT8)
ORDER BY a.profile_id, a.version
LIMIT $4::INT8;

-- name: export_orders
SELECT o.order_key, o.order_id, o.profile_id, o.status, o.items, o.total, o.currency, o.tax, o.shipping,
       o.discount, o.coupon, o.first_event, o.last_event, o.completed_at, o.version
FROM orders AS o
WHERE o.tenant_id = $1::UUID AND o.order_key > $2::UUID
ORDER BY o.order_key
LIMIT $3::INT8;

-- name: export_orders_of
-- Those of one profile.
SELECT o.order_key, o.order_id, o.profile_id, o.status, o.items, o.total, o.currency, o.tax, o.shipping,
       o.discount, o.coupon, o.first_event, o.last_event, o.completed_at, o.version
FROM orders AS o
WHERE o.tenant_id = $1::UUID AND o.profile_id = $2::UUID
ORDER BY o.first_event, o.order_key;

-- name: export_products
SELECT p.product_key, p.product_id, p.name, p.price, p.category, p.skeleton, p.first_seen, p.version
FROM products AS p
WHERE p.tenant_id = $1::UUID AND p.product_key > $2::UUID
ORDER BY p.product_key
LIMIT $3::INT8;

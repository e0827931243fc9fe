-- What a batch must know before it is folded. Set-wise: one statement each, whatever the batch.

-- name: seen_insert
-- What comes back is new; what does not was counted before.
INSERT INTO message_ids (message_hash, expires_at)
SELECT unnest($1::UUID[]), $2::TIMESTAMPTZ
ON CONFLICT (message_hash) DO NOTHING
RETURNING message_hash;

-- name: seen_add
-- For message ids that are believed to be new. One that is not fails the statement, which is what makes
-- it cheap: on PostgreSQL ON CONFLICT would cost half as much again.
INSERT INTO message_ids (message_hash, expires_at)
SELECT unnest($1::UUID[]), $2::TIMESTAMPTZ;

-- name: seen_read
-- Which were counted before.
SELECT m.message_hash
FROM unnest($1::UUID[]) AS u(h)
JOIN message_ids AS m ON m.message_hash = u.h;

-- name: identifier_load
-- Identifiers, each with its owner. The owners are locked in the order of their ids, so that two
-- batches that meet wait for each other instead of dying. The attributes of an owner come with the first
-- of its identifiers only: many devices of one profile would bring as many copies of all it has.
SELECT q.tenant_id, q.node_id, q.kind, q.value, q.profile_id, q.valid_from, q.version, q.erased,
       q.owner_tenant, q.owner, q.owner_kind,
       CASE WHEN lag(q.owner) OVER (ORDER BY q.owner_tenant, q.owner, q.node_id) = q.owner THEN '' ELSE q.attributes END,
       q.first_seen, q.last_seen, q.event_count, q.track_count, q.page_count, q.identify_count, q.attributes_at,
       q.owner_version, q.created_at, q.updated_at, q.merged_into, q.owned, q.spans, q.orders, q.revision
FROM (
  SELECT i.tenant_id, i.node_id, i.kind, i.value, i.profile_id, i.valid_from, i.version, i.erased,
         p.tenant_id AS owner_tenant, p.profile_id AS owner, p.kind AS owner_kind, p.attributes, p.first_seen, p.last_seen,
         p.event_count, p.track_count, p.page_count, p.identify_count, p.attributes_at, p.version AS owner_version,
         p.created_at, p.updated_at, p.merged_into, p.owned, p.spans, p.orders, p.revision
  FROM unnest($1::UUID[], $2::UUID[]) AS u(t, n)
  JOIN identifiers AS i ON i.tenant_id = u.t AND i.node_id = u.n
  JOIN profiles AS p ON p.tenant_id = i.tenant_id AND p.profile_id = i.profile_id
  ORDER BY p.tenant_id, p.profile_id
  FOR UPDATE OF p
) AS q
ORDER BY q.owner_tenant, q.owner, q.node_id;

-- name: order_load
-- Orders, each with its owner, likewise.
SELECT q.tenant_id, q.order_id, q.profile_id, q.status, q.items, q.total, q.currency, q.tax, q.shipping,
       q.discount, q.coupon, q.first_event, q.last_event, q.completed_at, q.version, q.order_revision,
       q.owner_tenant, q.owner, q.owner_kind,
       CASE WHEN lag(q.owner) OVER (ORDER BY q.owner_tenant, q.owner, q.order_key) = q.owner THEN '' ELSE q.attributes END,
       q.first_seen, q.last_seen, q.event_count, q.track_count, q.page_count, q.identify_count, q.attributes_at,
       q.owner_version, q.created_at, q.updated_at, q.merged_into, q.owned, q.spans, q.orders, q.revision
FROM (
  SELECT o.tenant_id, o.order_key, o.order_id, o.profile_id, o.status, o.items, o.total, o.currency, o.tax, o.shipping,
         o.discount, o.coupon, o.first_event, o.last_event, o.completed_at, o.version, o.revision AS order_revision,
         p.tenant_id AS owner_tenant, p.profile_id AS owner, p.kind AS owner_kind, p.attributes, p.first_seen, p.last_seen,
         p.event_count, p.track_count, p.page_count, p.identify_count, p.attributes_at, p.version AS owner_version,
         p.created_at, p.updated_at, p.merged_into, p.owned, p.spans, p.orders, p.revision
  FROM unnest($1::UUID[], $2::UUID[]) AS u(t, k)
  JOIN orders AS o ON o.tenant_id = u.t AND o.order_key = u.k
  JOIN profiles AS p ON p.tenant_id = o.tenant_id AND p.profile_id = o.profile_id
  ORDER BY p.tenant_id, p.profile_id
  FOR UPDATE OF p
) AS q
ORDER BY q.owner_tenant, q.owner, q.order_key;

-- name: product_load
SELECT p.tenant_id, p.product_id, p.name, p.price, p.category, p.skeleton, p.first_seen, p.version, p.revision
FROM unnest($1::UUID[], $2::UUID[]) AS u(t, k)
JOIN products AS p ON p.tenant_id = u.t AND p.product_key = u.k;

-- name: identifier_of_profile
-- All that these profiles own; a merge moves it. The identifier that created a profile has its id
-- and is not in the index of the others.
SELECT i.tenant_id, i.node_id, i.kind, i.value, i.profile_id, i.valid_from, i.version, i.erased
FROM unnest($1::UUID[], $2::UUID[]) AS u(t, p)
JOIN identifiers AS i ON i.tenant_id = u.t AND i.profile_id = u.p AND i.profile_id <> i.node_id
UNION ALL
SELECT i.tenant_id, i.node_id, i.kind, i.value, i.profile_id, i.valid_from, i.version, i.erased
FROM unnest($1::UUID[], $2::UUID[]) AS v(t, p)
JOIN identifiers AS i ON i.tenant_id = v.t AND i.node_id = v.p AND i.profile_id = v.p;

-- name: span_of_profile
SELECT s.tenant_id, s.node_id, s.kind, s.value, s.profile_id, s.valid_from, s.version
FROM unnest($1::UUID[], $2::UUID[]) AS u(t, p)
JOIN identifier_spans AS s ON s.tenant_id = u.t AND s.profile_id = u.p;

-- name: order_of_profile
SELECT o.tenant_id, o.order_id, o.profile_id, o.status, o.items, o.total, o.currency, o.tax, o.shipping,
       o.discount, o.coupon, o.first_event, o.last_event, o.completed_at, o.version, o.revision
FROM unnest($1::UUID[], $2::UUID[]) AS u(t, p)
JOIN orders AS o ON o.tenant_id = u.t AND o.profile_id = u.p;

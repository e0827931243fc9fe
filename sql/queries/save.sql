-- What a batch changed. Rows are folded before: none is there twice. A row that is not as it was read
-- stays as it is; the count of rows tells, and the transaction must not commit. Its revision is that at
-- which it was read plus one, and 1 where there was none: no stored row precedes that.
--
-- Arrays are unnested side by side in the SELECT list: in FROM, PostgreSQL puts each into a store of its own
-- first, and reads it out again.

-- name: profile_save
INSERT INTO profiles AS p (tenant_id, profile_id, kind, attributes, first_seen, last_seen, event_count, track_count,
                      page_count, identify_count, attributes_at, version, created_at, updated_at, merged_into,
                      owned, spans, orders, revision)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::TEXT[]), unnest($4::TEXT[]), unnest($5::TIMESTAMPTZ[]),
       unnest($6::TIMESTAMPTZ[]), unnest($7::INT8[]), unnest($8::INT8[]), unnest($9::INT8[]), unnest($10::INT8[]),
       unnest($11::TIMESTAMPTZ[]), unnest($12::INT8[]), unnest($13::TIMESTAMPTZ[]), unnest($14::TIMESTAMPTZ[]),
       unnest($15::UUID[]), unnest($16::TEXT[]), unnest($17::INT4[]), unnest($18::INT4[]), unnest($19::INT8[])
ON CONFLICT (tenant_id, profile_id) DO UPDATE SET
  kind = excluded.kind, attributes = excluded.attributes, first_seen = excluded.first_seen,
  last_seen = excluded.last_seen, event_count = excluded.event_count, track_count = excluded.track_count,
  page_count = excluded.page_count, identify_count = excluded.identify_count,
  attributes_at = excluded.attributes_at, version = excluded.version, updated_at = excluded.updated_at,
  merged_into = excluded.merged_into, owned = excluded.owned, spans = excluded.spans, orders = excluded.orders,
  revision = excluded.revision
WHERE p.revision = excluded.revision - 1;

-- name: tombstone_redirect
-- A tombstone points at a live profile: those of a profile that has now lost go on to the winner.
UPDATE profiles AS p
SET merged_into = u.w
FROM unnest($1::UUID[], $2::UUID[], $3::UUID[]) AS u(t, l, w)
WHERE p.tenant_id = u.t AND p.merged_into = u.l AND p.merged_into IS NOT NULL;

-- name: identifier_insert
INSERT INTO identifiers (tenant_id, node_id, kind, value, profile_id, valid_from, version)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::TEXT[]), unnest($4::TEXT[]), unnest($5::UUID[]),
       unnest($6::TIMESTAMPTZ[]), unnest($7::INT8[])
ON CONFLICT (tenant_id, node_id) DO NOTHING;

-- name: identifier_add
-- The same for a batch that may fail: plainly, as message ids are.
INSERT INTO identifiers (tenant_id, node_id, kind, value, profile_id, valid_from, version)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::TEXT[]), unnest($4::TEXT[]), unnest($5::UUID[]),
       unnest($6::TIMESTAMPTZ[]), unnest($7::INT8[]);

-- name: identifier_save
-- Of those that were there. They need no revision: whoever changes an identifier's owner writes the
-- rows of both owners. One that was nobody's, after an erasure, has no name until now, and its version tells.
INSERT INTO identifiers AS i (tenant_id, node_id, kind, value, profile_id, valid_from, version)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::TEXT[]), unnest($4::TEXT[]), unnest($5::UUID[]),
       unnest($6::TIMESTAMPTZ[]), unnest($7::INT8[])
ON CONFLICT (tenant_id, node_id) DO UPDATE SET
  kind = excluded.kind, value = excluded.value, profile_id = excluded.profile_id, valid_from = excluded.valid_from,
  version = excluded.version
WHERE i.version < excluded.version;

-- name: span_save
INSERT INTO identifier_spans (tenant_id, node_id, kind, value, profile_id, valid_from, version)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::TEXT[]), unnest($4::TEXT[]), unnest($5::UUID[]),
       unnest($6::TIMESTAMPTZ[]), unnest($7::INT8[])
ON CONFLICT (tenant_id, node_id, valid_from) DO UPDATE SET
  profile_id = excluded.profile_id, version = excluded.version;

-- name: merge_save
-- Named by its cause: a message that comes again after its id was forgotten finds its row here. If the
-- merge was taken back in between, it is in force again.
INSERT INTO profile_merges AS m (tenant_id, merge_id, winner_id, loser_id, merged_at, body)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::UUID[]), unnest($4::UUID[]), unnest($5::TIMESTAMPTZ[]),
       unnest($6::TEXT[])
ON CONFLICT (tenant_id, merge_id) DO UPDATE SET merged_at = excluded.merged_at, body = excluded.body, undone_at = NULL
WHERE m.undone_at IS NOT NULL;

-- name: conflict_save
INSERT INTO identity_conflicts (tenant_id, conflict_id, message_id, profile_id, reason, node_id, kind, value,
                                limit_kind, other_id, event_time, received_at)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::TEXT[]), unnest($4::UUID[]), unnest($5::TEXT[]),
       unnest($6::UUID[]), unnest($7::TEXT[]), unnest($8::TEXT[]), unnest($9::TEXT[]), unnest($10::UUID[]),
       unnest($11::TIMESTAMPTZ[]), unnest($12::TIMESTAMPTZ[])
ON CONFLICT (tenant_id, conflict_id) DO NOTHING;

-- name: lineage_save
INSERT INTO attribute_changes (tenant_id, profile_id, version, changes)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::INT8[]), unnest($4::TEXT[]);

-- name: order_save
INSERT INTO orders AS o (tenant_id, order_key, order_id, profile_id, status, items, total, currency, tax, shipping,
                    discount, coupon, first_event, last_event, completed_at, version, revision)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::TEXT[]), unnest($4::UUID[]), unnest($5::TEXT[]),
       unnest($6::TEXT[]), unnest($7::TEXT[]), unnest($8::TEXT[]), unnest($9::TEXT[]), unnest($10::TEXT[]),
       unnest($11::TEXT[]), unnest($12::TEXT[]), unnest($13::TIMESTAMPTZ[]), unnest($14::TIMESTAMPTZ[]),
       unnest($15::TIMESTAMPTZ[]), unnest($16::INT8[]), unnest($17::INT8[])
ON CONFLICT (tenant_id, order_key) DO UPDATE SET
  profile_id = excluded.profile_id, status = excluded.status, items = excluded.items, total = excluded.total,
  currency = excluded.currency, tax = excluded.tax, shipping = excluded.shipping, discount = excluded.discount,
  coupon = excluded.coupon, first_event = excluded.first_event, last_event = excluded.last_event,
  completed_at = excluded.completed_at, version = excluded.version, revision = excluded.revision
WHERE o.revision = excluded.revision - 1;

-- name: product_save
INSERT INTO products AS p (tenant_id, product_key, product_id, name, price, category, skeleton, first_seen, version, revision)
SELECT unnest($1::UUID[]), unnest($2::UUID[]), unnest($3::TEXT[]), unnest($4::TEXT[]), unnest($5::TEXT[]),
       unnest($6::TEXT[]), unnest($7::BOOL[]), unnest($8::TIMESTAMPTZ[]), unnest($9::INT8[]), unnest($10::INT8[])
ON CONFLICT (tenant_id, product_key) DO UPDATE SET
  name = excluded.name, price = excluded.price, category = excluded.category, skeleton = excluded.skeleton,
  first_seen = excluded.first_seen, version = excluded.version, revision = excluded.revision
WHERE p.revision = excluded.revision - 1;

-- name: dead_letter_save
INSERT INTO dead_letters (tenant_id, topic, part, source_offset, job_id, reason, detail, created_at, attempts)
SELECT unnest($1::UUID[]), $2::TEXT, $3::INT4, unnest($4::INT8[]), unnest($5::TEXT[]), unnest($6::TEXT[]),
       unnest($7::TEXT[]), $9::TIMESTAMPTZ, unnest($8::INT4[])
ON CONFLICT (tenant_id, topic, part, source_offset) DO NOTHING;

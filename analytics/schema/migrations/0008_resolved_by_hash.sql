-- +goose NO TRANSACTION

-- +goose Up

-- The join's key is one number instead of two UUIDs: over 47.5 million events and 1.7 million rows of
-- the map it takes less than half of the processor time (docs/analytics.md). The node is compared
-- afterwards, so that one without a row never gets the row of another with the same hash. Two nodes of
-- the map with one hash would be mixed up: one chance in ten million at a million rows.
-- Exact as of now: the map is read anew by every query, so a collapse shows at once, and no event is
-- ever rewritten. Spans that say a node is its own profile since ever are left out: they are what the
-- answer is without a row, and most visitors never are recognised.
CREATE OR REPLACE VIEW events_resolved AS
SELECT
    e.* EXCEPT (node_hash),
    if(m.map_node = e.node, m.profile_id, e.node) AS profile_id
FROM
(
    SELECT
        *, payload_json, context_json, is_bot,
        if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node) AS node,
        cityHash64(tenant_id, node) AS node_hash
    FROM events
) AS e
ASOF LEFT JOIN
(
    SELECT cityHash64(tenant_id, node) AS map_hash, node AS map_node, valid_from, profile_id
    FROM identity_map FINAL
    WHERE NOT (profile_id = node AND valid_from = toDateTime64(0, 6, 'UTC'))
) AS m
    ON e.node_hash = m.map_hash AND e.received_at >= m.valid_from
COMMENT 'One row is one accepted event with the person it belongs to as of now, in profile_id: history follows a visitor who is recognised, and a shared device is split in time. node is what was looked up: identity_node, or profile_node where there is none';

-- +goose Down

CREATE OR REPLACE VIEW events_resolved AS
SELECT
    e.*,
    if(m.profile_id = toUUID('00000000-0000-0000-0000-000000000000'), e.node, m.profile_id) AS profile_id
FROM
(
    SELECT
        *, payload_json, context_json, is_bot,
        if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node) AS node
    FROM events
) AS e
ASOF LEFT JOIN
(
    SELECT tenant_id AS map_tenant, node AS map_node, valid_from, profile_id
    FROM identity_map FINAL
    WHERE NOT (profile_id = node AND valid_from = toDateTime64(0, 6, 'UTC'))
) AS m
    ON e.tenant_id = m.map_tenant AND e.node = m.map_node AND e.received_at >= m.valid_from
COMMENT 'One row is one accepted event with the person it belongs to as of now, in profile_id: history follows a visitor who is recognised, and a shared device is split in time. node is what was looked up: identity_node, or profile_node where there is none';

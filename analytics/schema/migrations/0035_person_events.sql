-- +goose NO TRANSACTION

-- +goose Up

-- What one person did is a few granules of many: a filter for each granule tells which. Rows of before get it
-- in the background, and are read as ever until then.
ALTER TABLE {{.Local "events"}}
    ADD INDEX IF NOT EXISTS profile_node_bloom profile_node TYPE bloom_filter(0.001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS identity_node_bloom identity_node TYPE bloom_filter(0.001) GRANULARITY 1;
ALTER TABLE {{.Local "events"}} MATERIALIZE INDEX profile_node_bloom, MATERIALIZE INDEX identity_node_bloom;

ALTER TABLE identity_map
    ADD INDEX IF NOT EXISTS profile_id_bloom profile_id TYPE bloom_filter(0.001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS value_bloom value TYPE bloom_filter(0.001) GRANULARITY 1;
ALTER TABLE identity_map MATERIALIZE INDEX profile_id_bloom, MATERIALIZE INDEX value_bloom;

-- events_resolved must look up every event before it knows whose it is. Here the nodes that are the person's now,
-- or were by an older version of a row, come first; their events are found by the filters, and only these
-- are looked up, in all spans of their nodes.
CREATE OR REPLACE VIEW person_events AS
WITH nodes AS
(
    SELECT node FROM identity_map WHERE tenant_id = {tenant:UUID} AND profile_id = {profile:UUID}
    UNION ALL
    SELECT {profile:UUID}
)
SELECT e.*, if(m.map_node = e.node, m.profile_id, e.node) AS profile_id
FROM
(
    SELECT
        *, payload_json, context_json, is_bot,
        if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node) AS node
    FROM events
    WHERE tenant_id = {tenant:UUID} AND (profile_node IN nodes OR identity_node IN nodes) AND node IN nodes
) AS e
ASOF LEFT JOIN
(
    SELECT node AS map_node, valid_from, profile_id FROM identity_map FINAL
    WHERE tenant_id = {tenant:UUID} AND node IN nodes
) AS m
    ON e.node = m.map_node AND e.received_at >= m.valid_from
WHERE if(m.map_node = e.node, m.profile_id, e.node) = {profile:UUID} -- the name alone is the map's column, to who prefers columns
COMMENT 'person_events(tenant, profile): the rows of events_resolved that are of one person, found without reading those of all others';

-- +goose Down

DROP VIEW IF EXISTS person_events;
ALTER TABLE identity_map DROP INDEX IF EXISTS value_bloom, DROP INDEX IF EXISTS profile_id_bloom;
ALTER TABLE {{.Local "events"}} DROP INDEX IF EXISTS identity_node_bloom, DROP INDEX IF EXISTS profile_node_bloom;

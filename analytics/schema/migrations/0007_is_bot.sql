-- +goose NO TRANSACTION

-- +goose Up

-- device_class holds it already, also for rows written long ago: nothing is stored twice.
ALTER TABLE {{.Local "events"}} ADD COLUMN IF NOT EXISTS is_bot Bool ALIAS device_class = 'bot'
    COMMENT 'Whether user_agent names a crawler, a headless browser or a script. Such events are kept and count like others: filter on it' AFTER device_class;
{{.Distributed "events"}}

-- A computed column is not in *, so the view has to name it.
CREATE OR REPLACE VIEW {{.Local "events_resolved"}} AS
SELECT
    e.*,
    if(m.profile_id = toUUID('00000000-0000-0000-0000-000000000000'), e.node, m.profile_id) AS profile_id
FROM
(
    SELECT
        *, payload_json, context_json, is_bot,
        if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node) AS node
    FROM {{.Local "events"}}
) AS e
ASOF LEFT JOIN
(
    SELECT tenant_id AS map_tenant, node AS map_node, valid_from, profile_id
    FROM identity_map FINAL
    WHERE NOT (profile_id = node AND valid_from = toDateTime64(0, 6, 'UTC'))
) AS m
    ON e.tenant_id = m.map_tenant AND e.node = m.map_node AND e.received_at >= m.valid_from
COMMENT 'One row is one accepted event with the person it belongs to as of now, in profile_id: history follows a visitor who is recognised, and a shared device is split in time. node is what was looked up: identity_node, or profile_node where there is none';
{{.Distributed "events_resolved"}}

-- +goose Down

CREATE OR REPLACE VIEW {{.Local "events_resolved"}} AS
SELECT
    e.*,
    if(m.profile_id = toUUID('00000000-0000-0000-0000-000000000000'), e.node, m.profile_id) AS profile_id
FROM
(
    SELECT
        *, payload_json, context_json,
        if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node) AS node
    FROM {{.Local "events"}}
) AS e
ASOF LEFT JOIN
(
    SELECT tenant_id AS map_tenant, node AS map_node, valid_from, profile_id
    FROM identity_map FINAL
    WHERE NOT (profile_id = node AND valid_from = toDateTime64(0, 6, 'UTC'))
) AS m
    ON e.tenant_id = m.map_tenant AND e.node = m.map_node AND e.received_at >= m.valid_from
COMMENT 'One row is one accepted event with the person it belongs to as of now, in profile_id: history follows a visitor who is recognised, and a shared device is split in time. node is what was looked up: identity_node, or profile_node where there is none';
{{.Distributed "events_resolved"}}

ALTER TABLE {{.Local "events"}} DROP COLUMN IF EXISTS is_bot;
{{.Distributed "events"}}

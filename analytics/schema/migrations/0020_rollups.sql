-- +goose NO TRANSACTION

-- +goose Up

-- What follows is filled by every insert into events, and must say the same however often a row of
-- events passes, in whatever cuts: an insert that was broken off may have reached events and not these,
-- and the sink then does not repeat it. So nothing here is a sum. Each is a set (of nodes, of log
-- positions), or a least or a greatest value, and adding again what is there changes nothing. What may
-- be missing is simply added once more (package rollup).

-- By node, not by person: whose a node is changes, and the past with it.
CREATE TABLE IF NOT EXISTS {{.Local "active_nodes"}}
(
    tenant_id UUID COMMENT 'The tenant',
    day Date COMMENT 'Day of the events, by event time, UTC' CODEC(Delta(2), ZSTD(1)),
    node UUID COMMENT 'Node of the first verified identifier of the events, else of their device' CODEC(ZSTD(1)),
    first_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'Earliest event time on that day' CODEC(ZSTD(1)),
    first_received SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'Earliest received_at of the events of that day' CODEC(ZSTD(1)),
    last_received SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'Latest received_at of the events of that day' CODEC(ZSTD(1))
)
ENGINE = {{.AggregatingMergeTree}}
ORDER BY (tenant_id, day, node)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Rollup of events: one row, once merged, is one node that did something on one day; bots left out. Read it with GROUP BY, or by person with active_people';
{{.Distributed "active_nodes"}}

CREATE MATERIALIZED VIEW IF NOT EXISTS active_nodes_fill TO {{.Local "active_nodes"}}
(
    tenant_id UUID COMMENT 'See active_nodes',
    day Date COMMENT 'See active_nodes',
    node UUID COMMENT 'See active_nodes',
    first_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'See active_nodes',
    first_received SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'See active_nodes',
    last_received SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'See active_nodes'
)
AS SELECT
    tenant_id,
    toDate(timestamp) AS day,
    if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node) AS node,
    timestamp AS first_at, received_at AS first_received, received_at AS last_received
FROM {{.Local "events"}}
WHERE device_class != 'bot'
COMMENT 'Fills active_nodes';

-- Positions in the log, as bitmaps: two bytes for a view, and a union counts each once.
CREATE TABLE IF NOT EXISTS {{.Local "page_days"}}
(
    tenant_id UUID COMMENT 'The tenant',
    day Date COMMENT 'Day of the page events, by event time, UTC' CODEC(Delta(2), ZSTD(1)),
    host String COMMENT 'Host of the page' CODEC(ZSTD(1)),
    path String COMMENT 'Path of the page' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Place of the events in the log: topic',
    partition Int32 COMMENT 'Place of the events in the log: partition' CODEC(ZSTD(1)),
    offsets AggregateFunction(groupBitmap, UInt64) COMMENT 'Place of the events in the log: their offsets; groupBitmapMerge counts them' CODEC(ZSTD(1))
)
ENGINE = {{.AggregatingMergeTree}}
ORDER BY (tenant_id, day, host, path, topic, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Rollup of events: the page events of a day, page by page; bots left out. Read it by the view page_views';
{{.Distributed "page_days"}}

CREATE MATERIALIZED VIEW IF NOT EXISTS page_days_fill TO {{.Local "page_days"}}
(
    tenant_id UUID COMMENT 'See page_days',
    day Date COMMENT 'See page_days',
    host String COMMENT 'See page_days',
    path String COMMENT 'See page_days',
    topic LowCardinality(String) COMMENT 'See page_days',
    partition Int32 COMMENT 'See page_days',
    offsets AggregateFunction(groupBitmap, UInt64) COMMENT 'See page_days'
)
AS SELECT tenant_id, toDate(timestamp) AS day, toString(host) AS host, path, topic, partition, groupBitmapState(toUInt64(offset)) AS offsets
FROM {{.Local "events"}}
WHERE event_type = 'page' AND device_class != 'bot'
GROUP BY tenant_id, day, host, path, topic, partition
COMMENT 'Fills page_days';

CREATE TABLE IF NOT EXISTS {{.Local "touches"}}
(
    tenant_id UUID COMMENT 'The tenant',
    node UUID COMMENT 'Node of the first verified identifier of the event, else of its device' CODEC(ZSTD(1)),
    timestamp DateTime64(3, 'UTC') COMMENT 'Event time of the page view' CODEC(Delta(8), ZSTD(1)),
    received_at DateTime64(6, 'UTC') COMMENT 'When the edge received it' CODEC(Delta(8), ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Place of the event in the log: topic',
    partition Int32 COMMENT 'Place of the event in the log: partition' CODEC(ZSTD(1)),
    offset Int64 COMMENT 'Place of the event in the log: offset' CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) COMMENT 'utm_source; of a click id alone, the network it is of: google, facebook, bing, tiktok',
    medium LowCardinality(String) COMMENT 'utm_medium',
    campaign LowCardinality(String) COMMENT 'utm_campaign'
)
ENGINE = {{.ReplacingMergeTree ""}}
ORDER BY (tenant_id, timestamp, node, topic, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Rollup of events: one row is one page view that a campaign brought, by tags or a click id in its address; bots left out. Read with FINAL';
{{.Distributed "touches"}}

CREATE MATERIALIZED VIEW IF NOT EXISTS touches_fill TO {{.Local "touches"}}
(
    tenant_id UUID COMMENT 'See touches',
    node UUID COMMENT 'See touches',
    timestamp DateTime64(3, 'UTC') COMMENT 'See touches',
    received_at DateTime64(6, 'UTC') COMMENT 'See touches',
    topic LowCardinality(String) COMMENT 'See touches',
    partition Int32 COMMENT 'See touches',
    offset Int64 COMMENT 'See touches',
    source LowCardinality(String) COMMENT 'See touches',
    medium LowCardinality(String) COMMENT 'See touches',
    campaign LowCardinality(String) COMMENT 'See touches'
)
AS SELECT
    tenant_id,
    if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node) AS node,
    timestamp, received_at, topic, partition, offset,
    multiIf(
        utm_source != '', toString(utm_source),
        gclid != '' OR gbraid != '' OR wbraid != '', 'google',
        fbclid != '', 'facebook',
        msclkid != '', 'bing',
        ttclid != '', 'tiktok',
        '') AS source,
    utm_medium AS medium,
    utm_campaign AS campaign
FROM {{.Local "events"}}
WHERE event_type = 'page' AND device_class != 'bot' AND (source != '' OR utm_campaign != '')
COMMENT 'Fills touches';

-- What was there before. The views above take what comes meanwhile; what comes by both ways counts once.
INSERT INTO {{.Local "active_nodes"}}
SELECT
    tenant_id, toDate(timestamp),
    if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node),
    timestamp, received_at, received_at
FROM {{.Local "events"}}
WHERE device_class != 'bot';

INSERT INTO {{.Local "page_days"}}
SELECT tenant_id, toDate(timestamp) AS day, toString(host) AS host, path, topic, partition, groupBitmapState(toUInt64(offset))
FROM {{.Local "events"}}
WHERE event_type = 'page' AND device_class != 'bot'
GROUP BY tenant_id, day, host, path, topic, partition;

INSERT INTO {{.Local "touches"}}
SELECT
    tenant_id,
    if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node),
    timestamp, received_at, topic, partition, offset,
    multiIf(
        utm_source != '', toString(utm_source),
        gclid != '' OR gbraid != '' OR wbraid != '', 'google',
        fbclid != '', 'facebook',
        msclkid != '', 'bing',
        ttclid != '', 'tiktok',
        '') AS source,
    utm_medium, utm_campaign
FROM {{.Local "events"}}
WHERE event_type = 'page' AND device_class != 'bot' AND (source != '' OR utm_campaign != '');

-- +goose Down

DROP VIEW IF EXISTS touches_fill;
DROP VIEW IF EXISTS page_days_fill;
DROP VIEW IF EXISTS active_nodes_fill;
{{.Drop "TABLE" "touches"}}
{{.Drop "TABLE" "page_days"}}
{{.Drop "TABLE" "active_nodes"}}

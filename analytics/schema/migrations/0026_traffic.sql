-- +goose NO TRANSACTION

-- +goose Up

CREATE OR REPLACE VIEW top_pages
(
    host String COMMENT 'Host of the page',
    path String COMMENT 'Path of the page',
    views UInt64 COMMENT 'Page views',
    people UInt64 COMMENT 'People who viewed it'
)
AS SELECT host, path, count() AS views, uniqExact(profile_id) AS people
FROM events_resolved
WHERE tenant_id = {tenant:UUID} AND event_type = 'page' AND NOT is_bot
    AND timestamp >= {since:DateTime} AND timestamp < {until:DateTime}
GROUP BY host, path
COMMENT 'top_pages(tenant, since, until): one row is one page and how often it was viewed, bots left out';

CREATE OR REPLACE VIEW page_views
(
    day Date COMMENT 'The day, by event time, UTC',
    host String COMMENT 'Host of the page',
    path String COMMENT 'Path of the page',
    views UInt64 COMMENT 'Page views'
)
AS SELECT day, host, path, sum(n) AS views
FROM
(
    SELECT day, host, path, topic, partition, groupBitmapMerge(offsets) AS n
    FROM page_days
    WHERE tenant_id = {tenant:UUID} AND day >= toDate({since:DateTime}) AND day <= toDate({until:DateTime} - INTERVAL 1 SECOND)
    GROUP BY day, host, path, topic, partition
)
GROUP BY day, host, path
COMMENT 'page_views(tenant, since, until): one row is one page and one day and how often it was viewed, over whole days; bots left out. From the rollup page_days. For people too, and for times, use top_pages';

CREATE OR REPLACE VIEW live_traffic
(
    minute DateTime('UTC') COMMENT 'The minute, by event time',
    people UInt64 COMMENT 'People, bots left out',
    pages UInt64 COMMENT 'Page events, bots left out',
    events UInt64 COMMENT 'Events of any type, bots left out',
    orders UInt64 COMMENT 'Different orders completed',
    bot_events UInt64 COMMENT 'Events of bots'
)
AS SELECT
    toStartOfMinute(timestamp) AS minute,
    uniqExactIf(profile_id, NOT is_bot) AS people,
    countIf(event_type = 'page' AND NOT is_bot) AS pages,
    countIf(NOT is_bot) AS events,
    uniqExactIf(order_id, order_id != '' AND NOT is_bot
        AND lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) IN ('order completed', 'checkout completed', 'purchase')) AS orders,
    countIf(is_bot) AS bot_events
FROM events_resolved
WHERE tenant_id = {tenant:UUID} AND timestamp >= {since:DateTime} AND timestamp < {until:DateTime}
GROUP BY minute
COMMENT 'live_traffic(tenant, since, until): one row is one minute in which something happened';

CREATE OR REPLACE VIEW identity_quality
(
    day Date COMMENT 'The day, UTC: of the events by event time, of collapses and merges when they were made',
    events UInt64 COMMENT 'Events of any type, bots left out',
    named UInt64 COMMENT 'Those that name a person themselves, by a verified identifier',
    recognised UInt64 COMMENT 'Those that name a device only, whose person is known as of now',
    anonymous UInt64 COMMENT 'The rest: events of devices on which nobody has named themselves',
    collapses UInt64 COMMENT 'Devices whose history went to a person',
    merges UInt64 COMMENT 'Persons who turned out to be one with another'
)
AS SELECT
    day, sum(n) AS events, sum(is_named) AS named, sum(is_recognised) AS recognised, events - named - recognised AS anonymous,
    sum(is_collapse) AS collapses, sum(is_merge) AS merges
FROM
(
    SELECT
        toDate(timestamp) AS day,
        count() AS n,
        countIf(identity_node != toUUID('00000000-0000-0000-0000-000000000000')) AS is_named,
        countIf(identity_node = toUUID('00000000-0000-0000-0000-000000000000') AND profile_id {{.Global}}IN
        (
            SELECT profile_id FROM profiles FINAL WHERE tenant_id = {tenant:UUID} AND kind = 'anchor'
        )) AS is_recognised,
        0 AS is_collapse,
        0 AS is_merge
    FROM events_resolved
    WHERE tenant_id = {tenant:UUID} AND NOT is_bot AND timestamp >= {since:DateTime} AND timestamp < {until:DateTime}
    GROUP BY day
    UNION ALL
    SELECT toDate(merged_at) AS day, 0, 0, 0, countIf(kind = 'collapse'), countIf(kind = 'merge')
    FROM profile_merges
    WHERE tenant_id = {tenant:UUID} AND merged_at >= {since:DateTime} AND merged_at < {until:DateTime}
    GROUP BY day
)
GROUP BY day
COMMENT 'identity_quality(tenant, since, until): one row is one day and how much of what happened is known to be of whom';

-- +goose Down

DROP VIEW IF EXISTS identity_quality;
DROP VIEW IF EXISTS live_traffic;
DROP VIEW IF EXISTS page_views;
DROP VIEW IF EXISTS top_pages;

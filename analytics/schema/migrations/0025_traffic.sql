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

CREATE OR REPLACE VIEW daily_active
(
    day Date COMMENT 'The day, UTC',
    people UInt64 COMMENT 'People who did something on that day',
    people_7_days UInt64 COMMENT 'People who did something on that day or the 6 before',
    people_30_days UInt64 COMMENT 'People who did something on that day or the 29 before'
)
AS SELECT
    day,
    countIf(age = 0) AS people,
    countIf(age < 7) AS people_7_days,
    count() AS people_30_days
FROM
(
    SELECT profile_id, active + number AS day, min(number) AS age
    FROM
    (
        SELECT DISTINCT profile_id, toDate(timestamp) AS active
        FROM events_resolved
        WHERE tenant_id = {tenant:UUID} AND NOT is_bot
            AND timestamp >= toStartOfDay({since:DateTime}) - INTERVAL 29 DAY AND timestamp < {until:DateTime}
    )
    ARRAY JOIN range(30) AS number
    WHERE day >= toDate({since:DateTime}) AND day <= toDate({until:DateTime} - INTERVAL 1 SECOND)
    GROUP BY profile_id, day
)
GROUP BY day
COMMENT 'daily_active(tenant, since, until): one row is one day and the people active on it, in the week and in the 30 days that end with it; bots left out';

CREATE OR REPLACE VIEW active
(
    period_start Date COMMENT 'First day of the period, UTC; weeks begin on Monday',
    people UInt64 COMMENT 'People who did something in it',
    new_people UInt64 COMMENT 'Those of them whose first event ever was in it',
    events UInt64 COMMENT 'Events of any type'
)
AS SELECT
    period_start,
    count() AS people,
    countIf(period_start = first) AS new_people,
    sum(n) AS events
FROM
(
    SELECT profile_id, period_start, count() AS n, min(period_start) OVER (PARTITION BY profile_id) AS first
    FROM
    (
        SELECT profile_id, toDate(dateTrunc({period:String}, timestamp)) AS period_start
        FROM events_resolved
        WHERE tenant_id = {tenant:UUID} AND timestamp < {until:DateTime} AND NOT is_bot
    )
    GROUP BY profile_id, period_start
)
WHERE period_start >= toDate(dateTrunc({period:String}, {since:DateTime}))
GROUP BY period_start
COMMENT 'active(tenant, since, until, period): one row is one day, week or month and the people active in it, from the period since falls in; bots left out. All history is read, to know who was new';

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
        countIf(identity_node = toUUID('00000000-0000-0000-0000-000000000000') AND profile_id IN
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
DROP VIEW IF EXISTS active;
DROP VIEW IF EXISTS daily_active;
DROP VIEW IF EXISTS top_pages;

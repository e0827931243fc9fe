-- +goose NO TRANSACTION

-- +goose Up

-- sessions cannot be told a time: what it is asked for may have begun before. This view reads what is
-- needed to know where the first session begins, and no more.
CREATE OR REPLACE VIEW sessions_in
(
    profile_id UUID COMMENT 'The person, as of now',
    started_at DateTime64(3, 'UTC') COMMENT 'Event time of the first event',
    ended_at DateTime64(3, 'UTC') COMMENT 'Event time of the last event',
    duration_seconds Float64 COMMENT 'From the first to the last event',
    events UInt64 COMMENT 'Events of any type',
    pages UInt64 COMMENT 'Page events',
    page_paths Array(String) COMMENT 'Paths of the pages in their order, one that was loaded again at once only once',
    entry_path String COMMENT 'Path of the first page; empty where there was none',
    exit_path String COMMENT 'Path of the last page; empty where there was none',
    referrer String COMMENT 'Referrer of the first page',
    referring_domain String COMMENT 'Host of the referrer of the first page',
    utm_source String COMMENT 'Campaign source of the first page',
    utm_medium String COMMENT 'Campaign medium of the first page',
    utm_campaign String COMMENT 'Campaign name of the first page',
    device_class String COMMENT 'Device class of the first event',
    orders UInt64 COMMENT 'Different orders completed'
)
AS SELECT
    profile_id,
    min(timestamp) AS started_at,
    max(timestamp) AS ended_at,
    dateDiff('millisecond', started_at, ended_at) / 1000 AS duration_seconds,
    count() AS events,
    countIf(event_type = 'page') AS pages,
    arrayCompact(arrayMap(p -> p.2, arraySort(groupArrayIf((position, path), event_type = 'page')))) AS page_paths,
    argMinIf(path, position, event_type = 'page') AS entry_path,
    argMaxIf(path, position, event_type = 'page') AS exit_path,
    argMinIf(referrer, position, event_type = 'page') AS referrer,
    argMinIf(referring_domain, position, event_type = 'page') AS referring_domain,
    argMinIf(utm_source, position, event_type = 'page') AS utm_source,
    argMinIf(utm_medium, position, event_type = 'page') AS utm_medium,
    argMinIf(utm_campaign, position, event_type = 'page') AS utm_campaign,
    argMin(device_class, position) AS device_class,
    uniqExactIf(order_id, completes AND order_id != '') AS orders
FROM
(
    SELECT
        *,
        (timestamp, received_at, topic, partition, offset) AS position,
        lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) IN ('order completed', 'checkout completed', 'purchase') AS completes,
        sum(starts) OVER (PARTITION BY profile_id ORDER BY timestamp, received_at, topic, partition, offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session
    FROM
    (
        SELECT
            profile_id, timestamp, received_at, topic, partition, offset, event_type, event_name,
            path, referrer, referring_domain, utm_source, utm_medium, utm_campaign, device_class, order_id,
            row_number() OVER person = 1
                OR timestamp > lagInFrame(timestamp) OVER person + INTERVAL 30 MINUTE AS starts
        FROM events_resolved
        WHERE tenant_id = {tenant:UUID} AND NOT is_bot
            AND timestamp >= {since:DateTime} - INTERVAL 30 MINUTE AND timestamp < {until:DateTime} + INTERVAL 1 DAY
        WINDOW person AS (PARTITION BY profile_id ORDER BY timestamp, received_at, topic, partition, offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    )
)
GROUP BY profile_id, session
HAVING started_at >= {since:DateTime} AND started_at < {until:DateTime}
COMMENT 'sessions_in(tenant, since, until): one row is one session that began in that time: events of a person, not of a bot, with no pause of more than 30 minutes. One that goes on for more than a day after the end is cut there';

CREATE OR REPLACE VIEW paths
(
    path Array(String) COMMENT 'The first pages of a session, one that was loaded again at once only once',
    sessions UInt64 COMMENT 'Sessions that began like that',
    people UInt64 COMMENT 'People who had such a session'
)
AS SELECT
    arraySlice(page_paths, 1, {length:UInt8}) AS path,
    count() AS sessions,
    uniqExact(profile_id) AS people
FROM sessions_in(tenant = {tenant:UUID}, since = {since:DateTime}, until = {until:DateTime})
WHERE notEmpty(page_paths)
GROUP BY path
COMMENT 'paths(tenant, since, until, length): one row is one way to begin a session, of up to so many pages';

-- +goose Down

DROP VIEW IF EXISTS paths;
DROP VIEW IF EXISTS sessions_in;

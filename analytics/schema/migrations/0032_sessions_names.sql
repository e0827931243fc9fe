-- +goose NO TRANSACTION

-- +goose Up

-- Runs of spaces in a name are one, as everywhere else.
CREATE OR REPLACE VIEW sessions
(
    tenant_id UUID COMMENT 'The tenant',
    profile_id UUID COMMENT 'The person, as of now',
    session_number UInt64 COMMENT 'Number of the person''s session, from 1',
    started_at DateTime64(3, 'UTC') COMMENT 'Event time of the first event',
    ended_at DateTime64(3, 'UTC') COMMENT 'Event time of the last event',
    duration_seconds Float64 COMMENT 'From the first to the last event',
    events UInt64 COMMENT 'Events of any type',
    pages UInt64 COMMENT 'Page events',
    entry_path String COMMENT 'Path of the first page; empty where there was none',
    exit_path String COMMENT 'Path of the last page; empty where there was none',
    referrer String COMMENT 'Referrer of the first page',
    referring_domain String COMMENT 'Host of the referrer of the first page',
    utm_source String COMMENT 'Campaign source of the first page',
    utm_medium String COMMENT 'Campaign medium of the first page',
    utm_campaign String COMMENT 'Campaign name of the first page',
    device_class String COMMENT 'Device class of the first event',
    orders UInt64 COMMENT 'Different orders completed',
    revenue Decimal(38, 9) COMMENT 'Sum of the revenue of events whose name says that an order was completed'
)
AS SELECT
    tenant_id, profile_id, session_number,
    min(timestamp) AS started_at,
    max(timestamp) AS ended_at,
    dateDiff('millisecond', started_at, ended_at) / 1000 AS duration_seconds,
    count() AS events,
    countIf(event_type = 'page') AS pages,
    argMinIf(path, position, event_type = 'page') AS entry_path,
    argMaxIf(path, position, event_type = 'page') AS exit_path,
    argMinIf(referrer, position, event_type = 'page') AS referrer,
    argMinIf(referring_domain, position, event_type = 'page') AS referring_domain,
    argMinIf(utm_source, position, event_type = 'page') AS utm_source,
    argMinIf(utm_medium, position, event_type = 'page') AS utm_medium,
    argMinIf(utm_campaign, position, event_type = 'page') AS utm_campaign,
    argMin(device_class, position) AS device_class,
    uniqExactIf(order_id, completes AND order_id != '') AS orders,
    ifNull(sumIf(revenue, completes), 0) AS revenue
FROM
(
    SELECT
        *,
        (timestamp, received_at, topic, partition, offset) AS position,
        lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) IN ('order completed', 'checkout completed', 'purchase') AS completes,
        sum(starts) OVER (PARTITION BY tenant_id, profile_id ORDER BY timestamp, received_at, topic, partition, offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session_number
    FROM
    (
        SELECT
            tenant_id, profile_id, timestamp, received_at, topic, partition, offset, event_type, event_name,
            path, referrer, referring_domain, utm_source, utm_medium, utm_campaign, device_class, order_id, revenue,
            row_number() OVER person = 1
                OR timestamp > lagInFrame(timestamp) OVER person + INTERVAL 30 MINUTE AS starts
        FROM events_resolved
        WINDOW person AS (PARTITION BY tenant_id, profile_id ORDER BY timestamp, received_at, topic, partition, offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    )
)
GROUP BY tenant_id, profile_id, session_number
COMMENT 'One row is one session: events of a person with no pause of more than 30 minutes, by event time, as of now';

-- +goose Down

CREATE OR REPLACE VIEW sessions
(
    tenant_id UUID COMMENT 'The tenant',
    profile_id UUID COMMENT 'The person, as of now',
    session_number UInt64 COMMENT 'Number of the person''s session, from 1',
    started_at DateTime64(3, 'UTC') COMMENT 'Event time of the first event',
    ended_at DateTime64(3, 'UTC') COMMENT 'Event time of the last event',
    duration_seconds Float64 COMMENT 'From the first to the last event',
    events UInt64 COMMENT 'Events of any type',
    pages UInt64 COMMENT 'Page events',
    entry_path String COMMENT 'Path of the first page; empty where there was none',
    exit_path String COMMENT 'Path of the last page; empty where there was none',
    referrer String COMMENT 'Referrer of the first page',
    referring_domain String COMMENT 'Host of the referrer of the first page',
    utm_source String COMMENT 'Campaign source of the first page',
    utm_medium String COMMENT 'Campaign medium of the first page',
    utm_campaign String COMMENT 'Campaign name of the first page',
    device_class String COMMENT 'Device class of the first event',
    orders UInt64 COMMENT 'Different orders completed',
    revenue Decimal(38, 9) COMMENT 'Sum of the revenue of events whose name says that an order was completed'
)
AS SELECT
    tenant_id, profile_id, session_number,
    min(timestamp) AS started_at,
    max(timestamp) AS ended_at,
    dateDiff('millisecond', started_at, ended_at) / 1000 AS duration_seconds,
    count() AS events,
    countIf(event_type = 'page') AS pages,
    argMinIf(path, position, event_type = 'page') AS entry_path,
    argMaxIf(path, position, event_type = 'page') AS exit_path,
    argMinIf(referrer, position, event_type = 'page') AS referrer,
    argMinIf(referring_domain, position, event_type = 'page') AS referring_domain,
    argMinIf(utm_source, position, event_type = 'page') AS utm_source,
    argMinIf(utm_medium, position, event_type = 'page') AS utm_medium,
    argMinIf(utm_campaign, position, event_type = 'page') AS utm_campaign,
    argMin(device_class, position) AS device_class,
    uniqExactIf(order_id, completes AND order_id != '') AS orders,
    ifNull(sumIf(revenue, completes), 0) AS revenue
FROM
(
    SELECT
        *,
        (timestamp, received_at, topic, partition, offset) AS position,
        lower(trim(replaceRegexpAll(event_name, '[_-]', ' '))) IN ('order completed', 'checkout completed', 'purchase') AS completes,
        sum(starts) OVER (PARTITION BY tenant_id, profile_id ORDER BY timestamp, received_at, topic, partition, offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session_number
    FROM
    (
        SELECT
            tenant_id, profile_id, timestamp, received_at, topic, partition, offset, event_type, event_name,
            path, referrer, referring_domain, utm_source, utm_medium, utm_campaign, device_class, order_id, revenue,
            row_number() OVER person = 1
                OR timestamp > lagInFrame(timestamp) OVER person + INTERVAL 30 MINUTE AS starts
        FROM events_resolved
        WINDOW person AS (PARTITION BY tenant_id, profile_id ORDER BY timestamp, received_at, topic, partition, offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    )
)
GROUP BY tenant_id, profile_id, session_number
COMMENT 'One row is one session: events of a person with no pause of more than 30 minutes, by event time, as of now';

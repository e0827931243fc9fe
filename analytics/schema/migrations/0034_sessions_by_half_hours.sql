-- +goose NO TRANSACTION

-- +goose Up

-- A person's events are first counted up by half hours, which are never in two sessions, and only the half
-- hours are put in order: an eighth of the rows, twice. (Each window sorts anew, all that it carries.)
-- Which page is the first or the last goes by event time, then by arrival and by place in the log (of the two
-- topics, keystone.backfill is the first by name), as one number: an aggregate in the order of a tuple keeps a
-- tuple for every group, and takes several times as long. ms is above zero from 1900 on, so that no half hour
-- lies on both sides of zero.
-- A half hour before 1970 or a day after 2106 would come out at the other end of what DateTime holds, where nothing
-- is: who says since = 1970 wants all there is.
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
    min(first_at) AS started_at,
    max(last_at) AS ended_at,
    dateDiff('millisecond', started_at, ended_at) / 1000 AS duration_seconds,
    sum(events_of_slot) AS events,
    sum(pages_of_slot) AS pages,
    argMinIf(first_path, slot, pages_of_slot > 0) AS entry_path,
    argMaxIf(last_path, slot, pages_of_slot > 0) AS exit_path,
    argMinIf(first_referrer, slot, pages_of_slot > 0) AS referrer,
    argMinIf(first_domain, slot, pages_of_slot > 0) AS referring_domain,
    argMinIf(first_source, slot, pages_of_slot > 0) AS utm_source,
    argMinIf(first_medium, slot, pages_of_slot > 0) AS utm_medium,
    argMinIf(first_campaign, slot, pages_of_slot > 0) AS utm_campaign,
    argMin(first_device, slot) AS device_class,
    toUInt64(arrayUniq(groupArrayArray(completed))) AS orders,
    sum(revenue_of_slot) AS revenue
FROM
(
    SELECT *, sum(starts) OVER (PARTITION BY tenant_id, profile_id ORDER BY slot ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session_number
    FROM
    (
        SELECT *, row_number() OVER person = 1 OR first_at > lagInFrame(last_at) OVER person + INTERVAL 30 MINUTE AS starts
        FROM
        (
            SELECT
                tenant_id, profile_id, slot,
                min(timestamp) AS first_at,
                max(timestamp) AS last_at,
                count() AS events_of_slot,
                countIf(page) AS pages_of_slot,
                argMinIf(path, position, page) AS first_path,
                argMaxIf(path, position, page) AS last_path,
                argMinIf(referrer, position, page) AS first_referrer,
                argMinIf(referring_domain, position, page) AS first_domain,
                argMinIf(utm_source, position, page) AS first_source,
                argMinIf(utm_medium, position, page) AS first_medium,
                argMinIf(utm_campaign, position, page) AS first_campaign,
                argMin(device_class, position) AS first_device,
                groupArrayIf(order_id, completes AND order_id != '') AS completed,
                ifNull(sumIf(revenue, completes), 0) AS revenue_of_slot
            FROM
            (
                SELECT
                    tenant_id, profile_id, timestamp, path, referrer, referring_domain, utm_source, utm_medium, utm_campaign, device_class, order_id, revenue,
                    toUnixTimestamp64Milli(timestamp) + 4000000000000 AS ms,
                    toUInt32(intDiv(ms, 1800000)) AS slot,
                    bitShiftLeft(toUInt256(ms), 192) + bitShiftLeft(toUInt256(toUnixTimestamp64Micro(received_at)), 128)
                        + bitShiftLeft(toUInt256(topic != 'keystone.backfill'), 96) + bitShiftLeft(toUInt256(partition), 64) + toUInt256(offset) AS position,
                    event_type = 'page' AS page,
                    lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) IN ('order completed', 'checkout completed', 'purchase') AS completes
                FROM events_resolved
            )
            GROUP BY tenant_id, profile_id, slot
        )
        WINDOW person AS (PARTITION BY tenant_id, profile_id ORDER BY slot ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
)
GROUP BY tenant_id, profile_id, session_number
COMMENT 'One row is one session: events of a person with no pause of more than 30 minutes, by event time, as of now';

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
    min(first_at) AS started_at,
    max(last_at) AS ended_at,
    dateDiff('millisecond', started_at, ended_at) / 1000 AS duration_seconds,
    sum(events_of_slot) AS events,
    sum(pages_of_slot) AS pages,
    arrayCompact(arrayFlatten(arrayMap(s -> s.2, arraySort(groupArrayIf((slot, paths), pages_of_slot > 0))))) AS page_paths,
    argMinIf(first_path, slot, pages_of_slot > 0) AS entry_path,
    argMaxIf(last_path, slot, pages_of_slot > 0) AS exit_path,
    argMinIf(first_referrer, slot, pages_of_slot > 0) AS referrer,
    argMinIf(first_domain, slot, pages_of_slot > 0) AS referring_domain,
    argMinIf(first_source, slot, pages_of_slot > 0) AS utm_source,
    argMinIf(first_medium, slot, pages_of_slot > 0) AS utm_medium,
    argMinIf(first_campaign, slot, pages_of_slot > 0) AS utm_campaign,
    argMin(first_device, slot) AS device_class,
    toUInt64(arrayUniq(groupArrayArray(completed))) AS orders
FROM
(
    SELECT *, sum(starts) OVER (PARTITION BY profile_id ORDER BY slot ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session
    FROM
    (
        SELECT *, row_number() OVER person = 1 OR first_at > lagInFrame(last_at) OVER person + INTERVAL 30 MINUTE AS starts
        FROM
        (
            SELECT
                profile_id, slot,
                min(timestamp) AS first_at,
                max(timestamp) AS last_at,
                count() AS events_of_slot,
                countIf(page) AS pages_of_slot,
                arraySort((p, at) -> at, groupArrayIf(path, page), groupArrayIf(position, page)) AS paths,
                argMinIf(path, position, page) AS first_path,
                argMaxIf(path, position, page) AS last_path,
                argMinIf(referrer, position, page) AS first_referrer,
                argMinIf(referring_domain, position, page) AS first_domain,
                argMinIf(utm_source, position, page) AS first_source,
                argMinIf(utm_medium, position, page) AS first_medium,
                argMinIf(utm_campaign, position, page) AS first_campaign,
                argMin(device_class, position) AS first_device,
                groupArrayIf(order_id, completes AND order_id != '') AS completed
            FROM
            (
                SELECT
                    profile_id, timestamp, path, referrer, referring_domain, utm_source, utm_medium, utm_campaign, device_class, order_id,
                    toUnixTimestamp64Milli(timestamp) + 4000000000000 AS ms,
                    toUInt32(intDiv(ms, 1800000)) AS slot,
                    bitShiftLeft(toUInt256(ms), 192) + bitShiftLeft(toUInt256(toUnixTimestamp64Micro(received_at)), 128)
                        + bitShiftLeft(toUInt256(topic != 'keystone.backfill'), 96) + bitShiftLeft(toUInt256(partition), 64) + toUInt256(offset) AS position,
                    event_type = 'page' AS page,
                    lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) IN ('order completed', 'checkout completed', 'purchase') AS completes
                FROM events_in(tenant = {tenant:UUID},
                    since = {since:DateTime} - toIntervalSecond(least(toUnixTimestamp({since:DateTime}), 1800)),
                    until = {until:DateTime} + toIntervalSecond(least(toUInt32(4294967295) - toUnixTimestamp({until:DateTime}), 86400)))
                WHERE NOT is_bot
            )
            GROUP BY profile_id, slot
        )
        WINDOW person AS (PARTITION BY profile_id ORDER BY slot ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
)
GROUP BY profile_id, session
HAVING started_at >= {since:DateTime} AND started_at < {until:DateTime}
COMMENT 'sessions_in(tenant, since, until): one row is one session that began in that time: events of a person, not of a bot, with no pause of more than 30 minutes. One that goes on for more than a day after the end is cut there';

-- As sessions_in, with the first pages of a half hour only.
CREATE OR REPLACE VIEW paths
(
    path Array(String) COMMENT 'The first pages of a session, one that was loaded again at once only once',
    sessions UInt64 COMMENT 'Sessions that began like that',
    people UInt64 COMMENT 'People who had such a session'
)
AS SELECT way AS path, count() AS sessions, uniqExact(profile_id) AS people
FROM
(
    SELECT
        profile_id,
        arraySlice(arrayCompact(arrayFlatten(arrayMap(s -> s.2, arraySort(groupArrayIf((slot, ways), paged))))), 1, {length:UInt8}) AS way
    FROM
    (
        SELECT *, sum(starts) OVER (PARTITION BY profile_id ORDER BY slot ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session
        FROM
        (
            SELECT *, row_number() OVER person = 1 OR first_at > lagInFrame(last_at) OVER person + INTERVAL 30 MINUTE AS starts
            FROM
            (
                SELECT
                    profile_id,
                    toUInt32(intDiv(toUnixTimestamp64Milli(timestamp) + 4000000000000, 1800000)) AS slot,
                    min(timestamp) AS first_at,
                    max(timestamp) AS last_at,
                    max(event_type = 'page') AS paged,
                    arraySlice(arrayCompact(arrayMap(p -> p.6, arraySort(
                        groupArrayIf((timestamp, received_at, topic, partition, offset, path), event_type = 'page')))), 1, {length:UInt8}) AS ways
                FROM events_in(tenant = {tenant:UUID},
                    since = {since:DateTime} - toIntervalSecond(least(toUnixTimestamp({since:DateTime}), 1800)),
                    until = {until:DateTime} + toIntervalSecond(least(toUInt32(4294967295) - toUnixTimestamp({until:DateTime}), 86400)))
                WHERE NOT is_bot
                GROUP BY profile_id, slot
            )
            WINDOW person AS (PARTITION BY profile_id ORDER BY slot ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
        )
    )
    GROUP BY profile_id, session
    HAVING min(first_at) >= {since:DateTime} AND min(first_at) < {until:DateTime} AND max(paged) = 1
)
GROUP BY path
COMMENT 'paths(tenant, since, until, length): one row is one way to begin a session, of up to so many pages';

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

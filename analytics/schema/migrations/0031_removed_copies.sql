-- +goose NO TRANSACTION

-- +goose Up

-- Of two copies of a message that two sinks took at the same moment, the later one is taken out of events
-- again. The rollups have counted it: they are sets, which forget nothing. So its place is noted down here
-- first, and what reads them leaves it out.
CREATE TABLE IF NOT EXISTS {{.Local "removed_copies"}}
(
    tenant_id UUID COMMENT 'The tenant',
    day Date COMMENT 'Day of the event, by event time, UTC' CODEC(Delta(2), ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Place it had in the log: topic',
    partition Int32 COMMENT 'Place it had in the log: partition' CODEC(ZSTD(1)),
    offset Int64 COMMENT 'Place it had in the log: offset' CODEC(Delta(8), ZSTD(1))
)
ENGINE = {{.ReplacingMergeTree ""}}
ORDER BY (tenant_id, day, topic, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is an event that was there twice, at the place of the copy that was taken out of events again. The rollups page_days and touches still have it';
{{.Distributed "removed_copies"}}

CREATE OR REPLACE VIEW page_views
(
    day Date COMMENT 'The day, by event time, UTC',
    host String COMMENT 'Host of the page',
    path String COMMENT 'Path of the page',
    views UInt64 COMMENT 'Page views'
)
AS SELECT p.day AS day, p.host AS host, p.path AS path, sum(bitmapAndnotCardinality(p.seen, c.removed)) AS views
FROM
(
    SELECT day, host, path, topic, partition, groupBitmapMergeState(offsets) AS seen
    FROM page_days
    WHERE tenant_id = {tenant:UUID} AND day >= toDate({since:DateTime}) AND day <= toDate({until:DateTime} - INTERVAL 1 SECOND)
    GROUP BY day, host, path, topic, partition
) AS p
LEFT JOIN
(
    SELECT day, topic, partition, groupBitmapState(toUInt64(offset)) AS removed
    FROM removed_copies
    WHERE tenant_id = {tenant:UUID} AND day >= toDate({since:DateTime}) AND day <= toDate({until:DateTime} - INTERVAL 1 SECOND)
    GROUP BY day, topic, partition
) AS c ON p.day = c.day AND p.topic = c.topic AND p.partition = c.partition
GROUP BY day, host, path
COMMENT 'page_views(tenant, since, until): one row is one page and one day and how often it was viewed, over whole days; bots left out. From the rollup page_days. For people too, and for times, use top_pages';

CREATE OR REPLACE VIEW attributed_orders
(
    order_id String COMMENT 'The order',
    profile_id UUID COMMENT 'The live profile the order belongs to',
    completed_at DateTime64(3, 'UTC') COMMENT 'Event time of completion',
    currency String COMMENT 'Currency of the order',
    total Decimal(38, 9) COMMENT 'Total of the order; 0 where never given',
    touched_at DateTime64(3, 'UTC') COMMENT 'Event time of the page view that the campaign brought; 1970-01-01 where none did',
    source String COMMENT 'Campaign source; of a click id alone, the network it is of; empty where no campaign brought the person',
    medium String COMMENT 'Campaign medium',
    campaign String COMMENT 'Campaign name',
    weight Float64 COMMENT 'Share of the order that this touch is credited with; those of one order add up to 1'
)
AS SELECT
    order_id, profile_id, completed_at, currency, total,
    touch.1 AS touched_at, touch.6 AS source, touch.7 AS medium, touch.8 AS campaign,
    share / arraySum(shares) AS weight
FROM
(
    SELECT
        o.order_id AS order_id, o.profile_id AS profile_id, o.completed_at AS completed_at, o.currency AS currency,
        ifNull(o.total, 0) AS total,
        arraySort(arrayFilter(
            t -> t.1 <= completed_at AND t.1 >= completed_at - toIntervalDay({lookback_days:UInt16}), p.touches)) AS found,
        if(empty(found), [defaultValueOfArgumentType(found[1])], found) AS path,
        arrayMap(
            (t, i) -> multiIf(
                {model:String} = 'first', toFloat64(i = 1),
                {model:String} = 'last', toFloat64(i = length(path)),
                {model:String} = 'linear', 1.,
                exp2(-dateDiff('millisecond', t.1, path[-1].1) / (86400000. * {half_life_days:Float64}))),
            path, arrayEnumerate(path)) AS shares
    FROM
    (
        SELECT order_id, profile_id, completed_at, currency, total FROM orders FINAL
        WHERE tenant_id = {tenant:UUID} AND status = 'completed'
            AND completed_at >= {since:DateTime} AND completed_at < {until:DateTime}
            AND NOT throwIf({model:String} NOT IN ('first', 'last', 'linear', 'time_decay'),
                'the model is first, last, linear or time_decay')
    ) AS o
    LEFT JOIN
    (
        SELECT
            if(s.profile_id = toUUID('00000000-0000-0000-0000-000000000000'), t.node, s.profile_id) AS profile_id,
            groupArray((timestamp, received_at, toString(topic), partition, offset, toString(source), toString(medium), toString(campaign))) AS touches
        FROM
        (
            SELECT * FROM touches FINAL
            WHERE tenant_id = {tenant:UUID}
                AND timestamp >= {since:DateTime} - toIntervalDay({lookback_days:UInt16}) AND timestamp < {until:DateTime}
                AND (topic, partition, offset) {{.Global}}NOT IN (SELECT topic, partition, offset FROM removed_copies WHERE tenant_id = {tenant:UUID})
        ) AS t
        ASOF LEFT JOIN
        (
            SELECT node, valid_from, profile_id FROM identity_map FINAL
            WHERE tenant_id = {tenant:UUID} AND NOT (profile_id = node AND valid_from = toDateTime64(0, 6, 'UTC'))
        ) AS s ON t.node = s.node AND t.received_at >= s.valid_from
        GROUP BY profile_id
    ) AS p ON p.profile_id = o.profile_id
)
ARRAY JOIN path AS touch, shares AS share
COMMENT 'attributed_orders(tenant, since, until, model, lookback_days, half_life_days): one row is one order completed in that time that stands, and one touch it is credited to. A touch is a page view of the person, with campaign tags or a click id in its address, at most so many days before the order. Models: first, last, linear, time_decay (half as much for every half_life_days before the last touch; the other models do not look at it). From the rollup touches';

-- +goose Down

CREATE OR REPLACE VIEW attributed_orders
(
    order_id String COMMENT 'The order',
    profile_id UUID COMMENT 'The live profile the order belongs to',
    completed_at DateTime64(3, 'UTC') COMMENT 'Event time of completion',
    currency String COMMENT 'Currency of the order',
    total Decimal(38, 9) COMMENT 'Total of the order; 0 where never given',
    touched_at DateTime64(3, 'UTC') COMMENT 'Event time of the page view that the campaign brought; 1970-01-01 where none did',
    source String COMMENT 'Campaign source; of a click id alone, the network it is of; empty where no campaign brought the person',
    medium String COMMENT 'Campaign medium',
    campaign String COMMENT 'Campaign name',
    weight Float64 COMMENT 'Share of the order that this touch is credited with; those of one order add up to 1'
)
AS SELECT
    order_id, profile_id, completed_at, currency, total,
    touch.1 AS touched_at, touch.6 AS source, touch.7 AS medium, touch.8 AS campaign,
    share / arraySum(shares) AS weight
FROM
(
    SELECT
        o.order_id AS order_id, o.profile_id AS profile_id, o.completed_at AS completed_at, o.currency AS currency,
        ifNull(o.total, 0) AS total,
        arraySort(arrayFilter(
            t -> t.1 <= completed_at AND t.1 >= completed_at - toIntervalDay({lookback_days:UInt16}), p.touches)) AS found,
        if(empty(found), [defaultValueOfArgumentType(found[1])], found) AS path,
        arrayMap(
            (t, i) -> multiIf(
                {model:String} = 'first', toFloat64(i = 1),
                {model:String} = 'last', toFloat64(i = length(path)),
                {model:String} = 'linear', 1.,
                exp2(-dateDiff('millisecond', t.1, path[-1].1) / (86400000. * {half_life_days:Float64}))),
            path, arrayEnumerate(path)) AS shares
    FROM
    (
        SELECT order_id, profile_id, completed_at, currency, total FROM orders FINAL
        WHERE tenant_id = {tenant:UUID} AND status = 'completed'
            AND completed_at >= {since:DateTime} AND completed_at < {until:DateTime}
            AND NOT throwIf({model:String} NOT IN ('first', 'last', 'linear', 'time_decay'),
                'the model is first, last, linear or time_decay')
    ) AS o
    LEFT JOIN
    (
        SELECT
            if(s.profile_id = toUUID('00000000-0000-0000-0000-000000000000'), t.node, s.profile_id) AS profile_id,
            groupArray((timestamp, received_at, toString(topic), partition, offset, toString(source), toString(medium), toString(campaign))) AS touches
        FROM
        (
            SELECT * FROM touches FINAL
            WHERE tenant_id = {tenant:UUID}
                AND timestamp >= {since:DateTime} - toIntervalDay({lookback_days:UInt16}) AND timestamp < {until:DateTime}
        ) AS t
        ASOF LEFT JOIN
        (
            SELECT node, valid_from, profile_id FROM identity_map FINAL
            WHERE tenant_id = {tenant:UUID} AND NOT (profile_id = node AND valid_from = toDateTime64(0, 6, 'UTC'))
        ) AS s ON t.node = s.node AND t.received_at >= s.valid_from
        GROUP BY profile_id
    ) AS p ON p.profile_id = o.profile_id
)
ARRAY JOIN path AS touch, shares AS share
COMMENT 'attributed_orders(tenant, since, until, model, lookback_days, half_life_days): one row is one order completed in that time that stands, and one touch it is credited to. A touch is a page view of the person, with campaign tags or a click id in its address, at most so many days before the order. Models: first, last, linear, time_decay (half as much for every half_life_days before the last touch; the other models do not look at it). From the rollup touches';

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

{{.Drop "TABLE" "removed_copies"}}

-- +goose NO TRANSACTION

-- +goose Up

-- Weights of time_decay are taken from the last touch, not from the order: the shares are the same, and
-- none is too small for a number.
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

CREATE OR REPLACE VIEW attribution
(
    source String COMMENT 'Campaign source; of a click id alone, the network it is of; empty where no campaign brought the person',
    medium String COMMENT 'Campaign medium',
    campaign String COMMENT 'Campaign name',
    currency String COMMENT 'Currency of the orders',
    orders UInt64 COMMENT 'Orders with some credit for it',
    conversions Float64 COMMENT 'Orders credited to it: shares add up to the number of orders',
    revenue Decimal(38, 9) COMMENT 'Totals credited to it; exact for first and last, else each share is rounded to nine places'
)
AS SELECT
    source, medium, campaign, currency,
    uniqExactIf(order_id, weight > 0) AS orders,
    sum(weight) AS conversions,
    CAST(sum(toDecimal128(weight, 9) * total), 'Decimal(38, 9)') AS revenue
FROM attributed_orders(tenant = {tenant:UUID}, since = {since:DateTime}, until = {until:DateTime}, model = {model:String},
    lookback_days = {lookback_days:UInt16}, half_life_days = {half_life_days:Float64})
GROUP BY source, medium, campaign, currency
HAVING conversions > 0
COMMENT 'attribution(tenant, since, until, model, lookback_days, half_life_days): which campaigns the orders completed in that time are owed to, by one of the models first, last, linear, time_decay; see attributed_orders';

CREATE OR REPLACE VIEW revenue_by_campaign
(
    day Date COMMENT 'Day of completion, UTC',
    source String COMMENT 'Campaign source; of a click id alone, the network it is of; empty where no campaign brought the person',
    medium String COMMENT 'Campaign medium',
    campaign String COMMENT 'Campaign name',
    currency String COMMENT 'Currency of the orders',
    orders UInt64 COMMENT 'Orders completed that stand: not cancelled, not refunded',
    customers UInt64 COMMENT 'People who ordered',
    revenue Decimal(38, 9) COMMENT 'Sum of the totals'
)
AS SELECT
    toDate(completed_at) AS day, source, medium, campaign, currency,
    count() AS orders,
    uniqExact(profile_id) AS customers,
    sum(total) AS revenue
FROM attributed_orders(tenant = {tenant:UUID}, since = {since:DateTime}, until = {until:DateTime}, model = 'last',
    lookback_days = 30, half_life_days = 7)
WHERE weight > 0
GROUP BY day, source, medium, campaign, currency
COMMENT 'revenue_by_campaign(tenant, since, until): orders completed in that time, by day and by the last campaign that brought the person in the 30 days before';

-- +goose Down

DROP VIEW IF EXISTS revenue_by_campaign;
DROP VIEW IF EXISTS attribution;
DROP VIEW IF EXISTS attributed_orders;

-- +goose NO TRANSACTION

-- +goose Up

-- events_resolved joins the whole map, whatever is asked: some 270 bytes of memory for each of its rows that is
-- not trivial. Who names a time needs only the rows of nodes that were there in it. Both halves of the
-- view see the events of one moment (enable_shared_storage_snapshot_in_query, on by default).
CREATE OR REPLACE VIEW events_in AS
{{- if .Cluster}}
SELECT * FROM events_resolved
WHERE tenant_id = {tenant:UUID} AND timestamp >= {since:DateTime} AND timestamp < {until:DateTime}
{{- else}}
SELECT e.* EXCEPT (node_number), if(m.map_number = e.node_number, m.profile_id, e.node) AS profile_id
FROM
(
    SELECT
        *, payload_json, context_json, is_bot,
        if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node) AS node,
        reinterpretAsUInt128(node) AS node_number
    FROM events
    WHERE tenant_id = {tenant:UUID} AND timestamp >= {since:DateTime} AND timestamp < {until:DateTime}
) AS e
ASOF LEFT JOIN
(
    SELECT reinterpretAsUInt128(node) AS map_number, valid_from, profile_id
    FROM identity_map FINAL
    WHERE tenant_id = {tenant:UUID} AND NOT (profile_id = node AND valid_from = toDateTime64(0, 6, 'UTC')) AND node IN
    (
        SELECT if(identity_node = toUUID('00000000-0000-0000-0000-000000000000'), profile_node, identity_node)
        FROM events
        WHERE tenant_id = {tenant:UUID} AND timestamp >= {since:DateTime} AND timestamp < {until:DateTime}
    )
) AS m
    ON e.node_number = m.map_number AND e.received_at >= m.valid_from
{{- end}}
COMMENT 'events_in(tenant, since, until): the rows of events_resolved of that time, resolved with that part of the map that is of the time';

CREATE OR REPLACE VIEW funnel
(
    step_number UInt8 COMMENT 'Number of the step, from 1',
    step String COMMENT 'The step, as asked for',
    people UInt64 COMMENT 'People who did it, after all steps before it, within the window from the first',
    percent_of_first Float64 COMMENT 'people, in percent of those who did the first step',
    percent_of_previous Float64 COMMENT 'people, in percent of those who did the step before'
)
AS SELECT
    number AS step_number,
    {steps:Array(String)}[number] AS step,
    countIf(reached >= number) AS people,
    100 * people / greatest(first_value(people) OVER (ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), 1) AS percent_of_first,
    100 * people / greatest(lagInFrame(people, 1, people) OVER (ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), 1) AS percent_of_previous
FROM
(
    SELECT windowFunnel({window_seconds:UInt64} * 1000, 'strict_once')(
        toUInt64(toUnixTimestamp64Milli(timestamp)),
        is[1], is[2], is[3], is[4], is[5], is[6], is[7], is[8], is[9], is[10]) AS reached
    FROM
    (
        SELECT
            profile_id, timestamp,
            lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) AS plain,
            arrayMap(
                any_of -> has(any_of, plain) OR has(any_of, event_type) OR event_type = 'page' AND has(any_of, path),
                arrayMap(
                    s -> arrayMap(
                        a -> if(startsWith(a, '/'), a, lower(trim(replaceRegexpAll(a, '[_\\s-]+', ' ')))),
                        splitByChar('|', s)),
                    {steps:Array(String)})) AS is
        FROM events_in(tenant = {tenant:UUID}, since = {since:DateTime}, until = {until:DateTime})
        WHERE NOT is_bot
            AND NOT throwIf(length({steps:Array(String)}) NOT BETWEEN 1 AND 10, 'a funnel has one to ten steps')
    )
    WHERE has(is, 1)
    GROUP BY profile_id
)
ARRAY JOIN arrayEnumerate({steps:Array(String)}) AS number
GROUP BY number
COMMENT 'funnel(tenant, since, until, steps, window_seconds): one row is one step. A step is the name of an event (in any case, _ and - like spaces), a type (page), or the path of a page (/checkout); several with | between them are one or the other. All within the time given, bots left out; events of one time are in the order of the steps';

CREATE OR REPLACE VIEW top_pages
(
    host String COMMENT 'Host of the page',
    path String COMMENT 'Path of the page',
    views UInt64 COMMENT 'Page views',
    people UInt64 COMMENT 'People who viewed it'
)
AS SELECT host, path, count() AS views, uniqExact(profile_id) AS people
FROM events_in(tenant = {tenant:UUID}, since = {since:DateTime}, until = {until:DateTime})
WHERE event_type = 'page' AND NOT is_bot
GROUP BY host, path
COMMENT 'top_pages(tenant, since, until): one row is one page and how often it was viewed, bots left out';

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
FROM events_in(tenant = {tenant:UUID}, since = {since:DateTime}, until = {until:DateTime})
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
    FROM events_in(tenant = {tenant:UUID}, since = {since:DateTime}, until = {until:DateTime})
    WHERE NOT is_bot
    GROUP BY day
    UNION ALL
    SELECT toDate(merged_at) AS day, 0, 0, 0, countIf(kind = 'collapse'), countIf(kind = 'merge')
    FROM profile_merges
    WHERE tenant_id = {tenant:UUID} AND merged_at >= {since:DateTime} AND merged_at < {until:DateTime}
    GROUP BY day
)
GROUP BY day
COMMENT 'identity_quality(tenant, since, until): one row is one day and how much of what happened is known to be of whom';

CREATE OR REPLACE VIEW product_performance
(
    product_id String COMMENT 'The product',
    name String COMMENT 'Name, as products has it',
    category String COMMENT 'Category, as products has it',
    views UInt64 COMMENT 'Events called Product Viewed',
    viewers UInt64 COMMENT 'People who viewed it',
    additions UInt64 COMMENT 'Events called Product Added or Added to Cart',
    adders UInt64 COMMENT 'People who put it into a cart',
    orders UInt64 COMMENT 'Orders with it completed in that time that stand: not cancelled, not refunded',
    customers UInt64 COMMENT 'People who ordered it',
    pieces Decimal(38, 9) COMMENT 'Pieces ordered',
    sales Map(String, Decimal(38, 9)) COMMENT 'Quantities times prices of the orders, by currency: sales[''EUR'']'
)
AS SELECT
    product_id,
    any(p.name) AS name,
    any(p.category) AS category,
    sum(viewed) AS views, sum(view_people) AS viewers,
    sum(added) AS additions, sum(add_people) AS adders,
    sum(ordered) AS orders, sum(order_people) AS customers,
    sum(quantity) AS pieces,
    CAST(mapFromArrays(groupArrayIf(currency, priced), groupArrayIf(amount, priced)), 'Map(String, Decimal(38, 9))') AS sales
FROM
(
    SELECT
        product_id,
        countIf(views) AS viewed, uniqExactIf(profile_id, views) AS view_people,
        countIf(adds) AS added, uniqExactIf(profile_id, adds) AS add_people,
        0 AS ordered, 0 AS order_people, toDecimal128(0, 9) AS quantity, '' AS currency, toDecimal128(0, 9) AS amount, false AS priced
    FROM
    (
        SELECT
            profile_id, product_ids,
            lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) AS plain,
            plain = 'product viewed' AS views,
            plain IN ('product added', 'added to cart') AS adds
        FROM events_in(tenant = {tenant:UUID}, since = {since:DateTime}, until = {until:DateTime})
        WHERE NOT is_bot
    )
    ARRAY JOIN product_ids AS product_id
    WHERE views OR adds
    GROUP BY product_id
    UNION ALL
    SELECT product_id, 0, 0, 0, 0, uniqExact(order_id), uniqExact(profile_id), sum(quantity), '', 0, false
    FROM order_items
    WHERE tenant_id = {tenant:UUID} AND status = 'completed' AND completed_at >= {since:DateTime} AND completed_at < {until:DateTime}
    GROUP BY product_id
    UNION ALL
    SELECT product_id, 0, 0, 0, 0, 0, 0, 0, toString(currency), sum(ifNull(amount, 0)), true
    FROM order_items
    WHERE tenant_id = {tenant:UUID} AND status = 'completed' AND completed_at >= {since:DateTime} AND completed_at < {until:DateTime}
    GROUP BY product_id, currency
) AS e
LEFT ANY JOIN (SELECT product_id, name, category FROM products FINAL WHERE tenant_id = {tenant:UUID}) AS p USING (product_id)
GROUP BY product_id
COMMENT 'product_performance(tenant, since, until): one row is one product that was viewed, put into a cart or ordered in that time; bots left out';

-- +goose Down

CREATE OR REPLACE VIEW funnel
(
    step_number UInt8 COMMENT 'Number of the step, from 1',
    step String COMMENT 'The step, as asked for',
    people UInt64 COMMENT 'People who did it, after all steps before it, within the window from the first',
    percent_of_first Float64 COMMENT 'people, in percent of those who did the first step',
    percent_of_previous Float64 COMMENT 'people, in percent of those who did the step before'
)
AS SELECT
    number AS step_number,
    {steps:Array(String)}[number] AS step,
    countIf(reached >= number) AS people,
    100 * people / greatest(first_value(people) OVER (ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), 1) AS percent_of_first,
    100 * people / greatest(lagInFrame(people, 1, people) OVER (ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), 1) AS percent_of_previous
FROM
(
    SELECT windowFunnel({window_seconds:UInt64} * 1000, 'strict_once')(
        toUInt64(toUnixTimestamp64Milli(timestamp)),
        is[1], is[2], is[3], is[4], is[5], is[6], is[7], is[8], is[9], is[10]) AS reached
    FROM
    (
        SELECT
            profile_id, timestamp,
            lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) AS plain,
            arrayMap(
                any_of -> has(any_of, plain) OR has(any_of, event_type) OR event_type = 'page' AND has(any_of, path),
                arrayMap(
                    s -> arrayMap(
                        a -> if(startsWith(a, '/'), a, lower(trim(replaceRegexpAll(a, '[_\\s-]+', ' ')))),
                        splitByChar('|', s)),
                    {steps:Array(String)})) AS is
        FROM events_resolved
        WHERE tenant_id = {tenant:UUID} AND timestamp >= {since:DateTime} AND timestamp < {until:DateTime} AND NOT is_bot
            AND NOT throwIf(length({steps:Array(String)}) NOT BETWEEN 1 AND 10, 'a funnel has one to ten steps')
    )
    WHERE has(is, 1)
    GROUP BY profile_id
)
ARRAY JOIN arrayEnumerate({steps:Array(String)}) AS number
GROUP BY number
COMMENT 'funnel(tenant, since, until, steps, window_seconds): one row is one step. A step is the name of an event (in any case, _ and - like spaces), a type (page), or the path of a page (/checkout); several with | between them are one or the other. All within the time given, bots left out; events of one time are in the order of the steps';

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

CREATE OR REPLACE VIEW product_performance
(
    product_id String COMMENT 'The product',
    name String COMMENT 'Name, as products has it',
    category String COMMENT 'Category, as products has it',
    views UInt64 COMMENT 'Events called Product Viewed',
    viewers UInt64 COMMENT 'People who viewed it',
    additions UInt64 COMMENT 'Events called Product Added or Added to Cart',
    adders UInt64 COMMENT 'People who put it into a cart',
    orders UInt64 COMMENT 'Orders with it completed in that time that stand: not cancelled, not refunded',
    customers UInt64 COMMENT 'People who ordered it',
    pieces Decimal(38, 9) COMMENT 'Pieces ordered',
    sales Map(String, Decimal(38, 9)) COMMENT 'Quantities times prices of the orders, by currency: sales[''EUR'']'
)
AS SELECT
    product_id,
    any(p.name) AS name,
    any(p.category) AS category,
    sum(viewed) AS views, sum(view_people) AS viewers,
    sum(added) AS additions, sum(add_people) AS adders,
    sum(ordered) AS orders, sum(order_people) AS customers,
    sum(quantity) AS pieces,
    CAST(mapFromArrays(groupArrayIf(currency, priced), groupArrayIf(amount, priced)), 'Map(String, Decimal(38, 9))') AS sales
FROM
(
    SELECT
        product_id,
        countIf(views) AS viewed, uniqExactIf(profile_id, views) AS view_people,
        countIf(adds) AS added, uniqExactIf(profile_id, adds) AS add_people,
        0 AS ordered, 0 AS order_people, toDecimal128(0, 9) AS quantity, '' AS currency, toDecimal128(0, 9) AS amount, false AS priced
    FROM
    (
        SELECT
            profile_id, product_ids,
            lower(trim(replaceRegexpAll(event_name, '[_\\s-]+', ' '))) AS plain,
            plain = 'product viewed' AS views,
            plain IN ('product added', 'added to cart') AS adds
        FROM events_resolved
        WHERE tenant_id = {tenant:UUID} AND NOT is_bot AND timestamp >= {since:DateTime} AND timestamp < {until:DateTime}
    )
    ARRAY JOIN product_ids AS product_id
    WHERE views OR adds
    GROUP BY product_id
    UNION ALL
    SELECT product_id, 0, 0, 0, 0, uniqExact(order_id), uniqExact(profile_id), sum(quantity), '', 0, false
    FROM order_items
    WHERE tenant_id = {tenant:UUID} AND status = 'completed' AND completed_at >= {since:DateTime} AND completed_at < {until:DateTime}
    GROUP BY product_id
    UNION ALL
    SELECT product_id, 0, 0, 0, 0, 0, 0, 0, toString(currency), sum(ifNull(amount, 0)), true
    FROM order_items
    WHERE tenant_id = {tenant:UUID} AND status = 'completed' AND completed_at >= {since:DateTime} AND completed_at < {until:DateTime}
    GROUP BY product_id, currency
) AS e
LEFT ANY JOIN (SELECT product_id, name, category FROM products FINAL WHERE tenant_id = {tenant:UUID}) AS p USING (product_id)
GROUP BY product_id
COMMENT 'product_performance(tenant, since, until): one row is one product that was viewed, put into a cart or ordered in that time; bots left out';

DROP VIEW IF EXISTS events_in;

-- +goose NO TRANSACTION

-- +goose Up

-- A node's day is one person's, but for the days on which the node passed from one to another: those
-- are looked up event by event.
CREATE OR REPLACE VIEW active_people
(
    day Date COMMENT 'The day, UTC',
    profile_id UUID COMMENT 'A person who did something on that day, as of now'
)
AS WITH
    days AS
    (
        SELECT day, node, min(first_at) AS first_at, min(first_received) AS first_received, max(last_received) AS last_received
        FROM active_nodes
        WHERE tenant_id = {tenant:UUID} AND day >= toDate({since:DateTime}) AND day <= toDate({until:DateTime} - INTERVAL 1 SECOND)
        GROUP BY day, node
    ),
    passed AS
    (
        SELECT d.day AS day, d.node AS node
        FROM
        (
            SELECT day, node, min(first_received) AS first_received, max(last_received) AS last_received
            FROM active_nodes
            WHERE tenant_id = {tenant:UUID} AND day >= toDate({since:DateTime}) AND day <= toDate({until:DateTime} - INTERVAL 1 SECOND)
                AND node IN (SELECT node FROM identity_map WHERE tenant_id = {tenant:UUID} AND valid_from > toDateTime64(0, 6, 'UTC'))
            GROUP BY day, node
        ) AS d
        INNER JOIN
        (
            SELECT node, valid_from FROM identity_map
            WHERE tenant_id = {tenant:UUID} AND valid_from > toDateTime64(0, 6, 'UTC')
        ) AS s ON s.node = d.node
        WHERE s.valid_from > d.first_received AND s.valid_from <= d.last_received
    )
SELECT DISTINCT day, profile_id
FROM
(
    SELECT d.day AS day, if(s.profile_id = toUUID('00000000-0000-0000-0000-000000000000'), d.node, s.profile_id) AS profile_id
    FROM (SELECT * FROM days WHERE first_at < {until:DateTime} AND (day, node) NOT IN (SELECT day, node FROM passed)) AS d
    ASOF LEFT JOIN
    (
        SELECT node, valid_from, profile_id FROM identity_map FINAL
        WHERE tenant_id = {tenant:UUID} AND NOT (profile_id = node AND valid_from = toDateTime64(0, 6, 'UTC'))
    ) AS s ON d.node = s.node AND d.first_received >= s.valid_from
    UNION ALL
    SELECT toDate(timestamp) AS day, profile_id
    FROM events_resolved
    WHERE tenant_id = {tenant:UUID} AND NOT is_bot AND timestamp < {until:DateTime}
        AND toDate(timestamp) {{.Global}}IN (SELECT day FROM passed) AND (toDate(timestamp), node) {{.Global}}IN (SELECT day, node FROM passed)
)
COMMENT 'active_people(tenant, since, until): one row is one day and one person who did something on it before until, from the day of since on; bots left out. From the rollup active_nodes';

CREATE OR REPLACE VIEW daily_active
(
    day Date COMMENT 'The day, UTC',
    people UInt64 COMMENT 'People who did something on that day',
    people_7_days UInt64 COMMENT 'People who did something on that day or the 6 before',
    people_30_days UInt64 COMMENT 'People who did something on that day or the 29 before'
)
AS SELECT day, people, people_7_days, people_30_days
FROM
(
    SELECT
        change.1 AS day,
        sum(change.2) AS people,
        sum(sum(change.3)) OVER (ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS people_7_days,
        sum(sum(change.4)) OVER (ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS people_30_days
    FROM
    (
        -- A person counts from a day on for 7 and 30 days, or until the next day of theirs takes over.
        SELECT arrayJoin([
            (active, 1, 1, 1), (least(active + 7, next), 0, -1, 0), (least(active + 30, next), 0, 0, -1)]) AS change
        FROM
        (
            SELECT arraySort(groupArray(day)) AS days
            FROM active_people(tenant = {tenant:UUID}, since = {since:DateTime} - INTERVAL 29 DAY, until = {until:DateTime})
            GROUP BY profile_id
        )
        ARRAY JOIN days AS active, arrayPushBack(arrayPopFront(days), toDate('2149-06-06')) AS next
        UNION ALL
        SELECT (toDate({since:DateTime}) + arrayJoin(range(toUInt32(dateDiff('day', {since:DateTime}, {until:DateTime} - INTERVAL 1 SECOND) + 1))), 0, 0, 0)
    )
    GROUP BY day
)
WHERE day >= toDate({since:DateTime}) AND day <= toDate({until:DateTime} - INTERVAL 1 SECOND) AND people_30_days > 0
COMMENT 'daily_active(tenant, since, until): one row is one day and the people active on it, in the week and in the 30 days that end with it; bots left out. From the rollup active_nodes';

CREATE OR REPLACE VIEW active
(
    period_start Date COMMENT 'First day of the period, UTC; weeks begin on Monday',
    people UInt64 COMMENT 'People who did something in it',
    new_people UInt64 COMMENT 'Those of them whose first event ever was in it'
)
AS SELECT period_start, count() AS people, countIf(period_start = first) AS new_people
FROM
(
    SELECT profile_id, period_start, min(period_start) OVER (PARTITION BY profile_id) AS first
    FROM
    (
        SELECT DISTINCT profile_id, toDate(dateTrunc({period:String}, day)) AS period_start
        FROM active_people(tenant = {tenant:UUID}, since = '1970-01-01 00:00:00', until = {until:DateTime})
    )
)
WHERE period_start >= toDate(dateTrunc({period:String}, {since:DateTime}))
GROUP BY period_start
COMMENT 'active(tenant, since, until, period): one row is one day, week or month and the people active in it, from the period since falls in; bots left out. From the rollup active_nodes';

CREATE OR REPLACE VIEW retention
(
    cohort Date COMMENT 'First day of the period in which these people were first seen',
    period_number Int64 COMMENT 'How many periods later; 0 is the first',
    cohort_people UInt64 COMMENT 'People of the cohort',
    people UInt64 COMMENT 'Those of them who did something in that period',
    percent Float64 COMMENT 'people, in percent of cohort_people'
)
AS SELECT
    cohort,
    dateDiff({period:String}, cohort, active) AS period_number,
    max(people) OVER (PARTITION BY cohort) AS cohort_people,
    count() AS people,
    100 * people / cohort_people AS percent
FROM
(
    SELECT profile_id, groupUniqArray(toDate(dateTrunc({period:String}, day))) AS periods, arrayMin(periods) AS cohort
    FROM active_people(tenant = {tenant:UUID}, since = '1970-01-01 00:00:00', until = {until:DateTime})
    GROUP BY profile_id
    HAVING cohort >= toDate(dateTrunc({period:String}, {since:DateTime}))
)
ARRAY JOIN periods AS active
GROUP BY cohort, active
COMMENT 'retention(tenant, since, until, period): people by the period (day, week from Monday, month) of their first event ever, and how many of them came again. Bots left out. From the rollup active_nodes';

-- Money of different currencies is never added up.
CREATE OR REPLACE VIEW cohorts
(
    cohort Date COMMENT 'First day of the period in which these people were first seen',
    currency String COMMENT 'Currency of the orders',
    period_number Int64 COMMENT 'How many periods later; 0 is the first',
    cohort_people UInt64 COMMENT 'People of the cohort, whether they ever ordered or not',
    buyers UInt64 COMMENT 'Those who completed an order in that period',
    orders UInt64 COMMENT 'Orders completed in that period that stand: not cancelled, not refunded',
    revenue Decimal(38, 9) COMMENT 'Sum of their totals',
    revenue_to_date Decimal(38, 9) COMMENT 'revenue of the cohort up to and with that period'
)
AS SELECT
    cohort,
    currency,
    dateDiff({period:String}, cohort, toDate(dateTrunc({period:String}, o.completed_at))) AS period_number,
    any(p.cohort_people) AS cohort_people,
    uniqExact(profile_id) AS buyers,
    count() AS orders,
    sum(ifNull(o.total, 0)) AS revenue,
    sum(revenue) OVER (PARTITION BY cohort, currency ORDER BY period_number ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS revenue_to_date
FROM
(
    SELECT profile_id, total, currency, completed_at FROM orders FINAL
    WHERE tenant_id = {tenant:UUID} AND status = 'completed' AND completed_at < {until:DateTime}
) AS o
INNER JOIN
(
    SELECT profile_id, cohort, count() OVER (PARTITION BY cohort) AS cohort_people
    FROM
    (
        SELECT profile_id, toDate(dateTrunc({period:String}, min(day))) AS cohort
        FROM active_people(tenant = {tenant:UUID}, since = '1970-01-01 00:00:00', until = {until:DateTime})
        GROUP BY profile_id
        HAVING cohort >= toDate(dateTrunc({period:String}, {since:DateTime}))
    )
) AS p USING (profile_id)
GROUP BY cohort, currency, period_number
COMMENT 'cohorts(tenant, since, until, period): what people were worth, by the period (day, week from Monday, month) of their first event ever, period by period. Bots left out. From the rollup active_nodes';

-- +goose Down

DROP VIEW IF EXISTS cohorts;
DROP VIEW IF EXISTS retention;
DROP VIEW IF EXISTS active;
DROP VIEW IF EXISTS daily_active;
DROP VIEW IF EXISTS active_people;

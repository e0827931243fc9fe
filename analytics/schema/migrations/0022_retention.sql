-- +goose NO TRANSACTION

-- +goose Up

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
    SELECT profile_id, groupUniqArray(toDate(dateTrunc({period:String}, timestamp))) AS periods, arrayMin(periods) AS cohort
    FROM events_resolved
    WHERE tenant_id = {tenant:UUID} AND timestamp < {until:DateTime} AND NOT is_bot
    GROUP BY profile_id
    HAVING cohort >= toDate(dateTrunc({period:String}, {since:DateTime}))
)
ARRAY JOIN periods AS active
GROUP BY cohort, active
COMMENT 'retention(tenant, since, until, period): people by the period (day, week from Monday, month) of their first event ever, and how many of them came again. Bots left out. All history is read, to know what was first';

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
        SELECT profile_id, toDate(dateTrunc({period:String}, min(timestamp))) AS cohort
        FROM events_resolved
        WHERE tenant_id = {tenant:UUID} AND timestamp < {until:DateTime} AND NOT is_bot
        GROUP BY profile_id
        HAVING cohort >= toDate(dateTrunc({period:String}, {since:DateTime}))
    )
) AS p USING (profile_id)
GROUP BY cohort, currency, period_number
COMMENT 'cohorts(tenant, since, until, period): what people were worth, by the period (day, week from Monday, month) of their first event ever, period by period. Bots left out. All history is read, to know what was first';

-- +goose Down

DROP VIEW IF EXISTS cohorts;
DROP VIEW IF EXISTS retention;

-- +goose NO TRANSACTION

-- +goose Up

-- strict_once: one event is not two steps, also where a step is a case of another (page, /checkout).
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

-- +goose Down

DROP VIEW IF EXISTS funnel;

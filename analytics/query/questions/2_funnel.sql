-- title: How many people get from a page view to an order?
-- People who did the steps in this order within seven days, on whatever device.
WITH reached AS
(
    SELECT windowFunnel(604800000)(
        toUInt64(toUnixTimestamp64Milli(timestamp)),
        event_type = 'page',
        lower(event_name) IN ('added to cart', 'product added'),
        lower(event_name) = 'checkout started',
        lower(event_name) = 'order completed') AS steps
    FROM events_resolved
    WHERE tenant_id = {tenant:UUID}
    GROUP BY profile_id
)
SELECT
    ['viewed a page', 'added to cart', 'started checkout', 'ordered'][step] AS reached,
    countIf(steps >= step) AS people,
    round(100 * people / greatest(max(people) OVER (), 1), 1) AS percent
FROM reached
ARRAY JOIN [1, 2, 3, 4] AS step
GROUP BY step
ORDER BY step

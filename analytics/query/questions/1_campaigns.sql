-- title: Which campaigns bring paying customers?
-- The first campaign a person ever came by gets the credit, also when they were anonymous then.
SELECT
    if(people.campaign = '', '(none)', people.campaign) AS first_campaign,
    count() AS customers,
    sum(buyers.orders) AS orders,
    sum(buyers.spent) AS revenue
FROM
(
    SELECT profile_id, argMinIf(utm_campaign, timestamp, utm_campaign != '') AS campaign
    FROM events_resolved
    WHERE tenant_id = {tenant:UUID}
    GROUP BY profile_id
) AS people
INNER JOIN
(
    SELECT profile_id, count() AS orders, sum(total) AS spent
    FROM orders FINAL
    WHERE tenant_id = {tenant:UUID} AND status = 'completed'
    GROUP BY profile_id
) AS buyers ON buyers.profile_id = people.profile_id
GROUP BY first_campaign
ORDER BY revenue DESC, first_campaign
LIMIT 20

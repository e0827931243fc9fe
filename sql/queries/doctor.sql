-- What keystone doctor asks of the state store itself.

-- name: doctor_server
-- Its name for itself, its clock, and who is asking.
SELECT version(), clock_timestamp(), current_user::TEXT;

-- name: doctor_privileges
-- Tables of ours that this account may not use as the roles do.
SELECT c.relname::TEXT
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = current_schema() AND c.relname NOT LIKE 'schema%'
  AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
    AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
ORDER BY 1;

-- name: doctor_dead_letters
-- Up to a limit: a person wants to know whether there are many, not how many millions.
SELECT count(*) FROM (SELECT d.part FROM dead_letters AS d WHERE d.state = 'open' LIMIT $1::INT8) AS few;

-- What became of records that could not be processed. Operators' commands: few, and small.

-- name: dead_letter_list
-- Along the primary key, of one tenant or of a range of them; an empty state or reason is any.
SELECT d.tenant_id, d.topic, d.part, d.source_offset, d.job_id, d.reason, d.detail, d.created_at, d.attempts,
       d.state, d.changed_at, d.changed_by, d.why, d.replayed_offset
FROM dead_letters AS d
WHERE d.tenant_id >= $1::UUID AND d.tenant_id <= $2::UUID
  AND (d.tenant_id, d.topic, d.part, d.source_offset) > ($3::UUID, $4::TEXT, $5::INT4, $6::INT8)
  AND ($7::TEXT = '' OR d.state = $7::TEXT) AND ($8::TEXT = '' OR d.reason = $8::TEXT)
ORDER BY d.tenant_id, d.topic, d.part, d.source_offset
LIMIT $9::INT8;

-- name: dead_letter_at
-- More than one only where the log was replaced, and offsets came again.
SELECT d.tenant_id, d.topic, d.part, d.source_offset, d.job_id, d.reason, d.detail, d.created_at, d.attempts,
       d.state, d.changed_at, d.changed_by, d.why, d.replayed_offset
FROM dead_letters AS d
WHERE d.topic = $1::TEXT AND d.part = $2::INT4 AND d.source_offset = $3::INT8
ORDER BY d.tenant_id;

-- name: dead_letter_change
-- A compare-and-set of each row's state: of two commands that want the same letter, one gets it back.
UPDATE dead_letters AS d
SET state = u.s, changed_at = u.ca, changed_by = u.cb, why = u.w, replayed_offset = u.ro
FROM unnest($1::UUID[], $2::TEXT[], $3::INT4[], $4::INT8[], $5::TEXT[], $6::TEXT[], $7::TIMESTAMPTZ[], $8::TEXT[],
            $9::TEXT[], $10::INT8[]) AS u(t, tp, p, o, f, s, ca, cb, w, ro)
WHERE d.tenant_id = u.t AND d.topic = u.tp AND d.part = u.p AND d.source_offset = u.o AND d.state = u.f
RETURNING d.tenant_id, d.topic, d.part, d.source_offset;

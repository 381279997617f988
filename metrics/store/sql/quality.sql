-- name: add
INSERT INTO quality_rollups (hour, flow, step, reason, amount)
VALUES (to_timestamp(%(hour)s), %(flow)s, %(step)s, %(reason)s, %(amount)s)
ON CONFLICT (flow, hour, step, reason) DO UPDATE SET amount = quality_rollups.amount + excluded.amount

-- name: judged_through
-- Windows that ended by then have been judged.
SELECT extract(epoch FROM max(through))::float8 FROM evaluation_progress

-- name: amounts
SELECT flow, step, reason, sum(amount)::int8
FROM quality_rollups
WHERE hour >= to_timestamp(%(start)s) AND hour < to_timestamp(%(end)s)
    AND (%(flows)s::text[] IS NULL OR flow = ANY (%(flows)s))
GROUP BY flow, step, reason

-- name: expire
DELETE FROM quality_rollups WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM quality_rollups WHERE hour < to_timestamp(%(before)s) LIMIT %(limit)s
))

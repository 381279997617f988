-- name: add
INSERT INTO report_runs (
    run_id, schedule, flow, period_start, period_end, due_at, state, trial, next_attempt_at, asked_by, asked, dimensions
)
VALUES (
    %(run_id)s, '', %(flow)s, to_timestamp(%(start)s), to_timestamp(%(end)s), to_timestamp(%(now)s), 'waiting', true,
    to_timestamp(%(now)s), %(by)s, %(asked)s, %(dimensions)s
)

-- name: load
-- How many wait, how many of them were asked for by this person, and how many this person asked for lately.
SELECT
    count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'waiting' AND asked_by = %(by)s),
    count(*) FILTER (WHERE asked_by = %(by)s AND due_at >= to_timestamp(%(since)s))
FROM report_runs WHERE asked_by IS NOT NULL AND (state = 'waiting' OR due_at >= to_timestamp(%(since)s))

-- name: give_up
UPDATE report_runs SET state = 'failed', last_error = %(error)s
WHERE asked_by IS NOT NULL AND state = 'waiting' AND due_at < to_timestamp(%(before)s)

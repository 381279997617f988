-- name: note_schedules
INSERT INTO report_schedules (name, first_seen)
SELECT name, to_timestamp(%(now)s) FROM unnest(%(names)s::text[]) AS name
ON CONFLICT (name) DO NOTHING

-- name: forget_schedules
-- One that comes back later begins anew: what was due meanwhile is not made up.
DELETE FROM report_schedules WHERE NOT name = ANY (%(names)s)

-- name: schedules
SELECT name, extract(epoch FROM first_seen)::float8 FROM report_schedules

-- name: add_run
INSERT INTO report_runs (run_id, schedule, flow, period_start, period_end, due_at, state, trial, next_attempt_at)
VALUES (
    %(run_id)s, %(schedule)s, %(flow)s, to_timestamp(%(start)s), to_timestamp(%(end)s), to_timestamp(%(due_at)s), 'waiting',
    %(trial)s, to_timestamp(%(next_attempt_at)s)
)
ON CONFLICT DO NOTHING

-- name: claim_run
-- Taken for a while: whoever dies over it leaves it to be made again.
UPDATE report_runs SET attempts = attempts + 1, next_attempt_at = to_timestamp(%(until)s)
WHERE run_id = (
    SELECT run_id FROM report_runs
    WHERE state = 'waiting' AND next_attempt_at <= to_timestamp(%(now)s) AND asked_by IS NULL
        AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
    ORDER BY due_at, run_id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING
    run_id, schedule, flow, extract(epoch FROM period_start)::float8, extract(epoch FROM period_end)::float8,
    extract(epoch FROM due_at)::float8, trial, attempts

-- name: run_made
UPDATE report_runs SET
    state = 'made', made_at = to_timestamp(%(now)s), last_error = NULL, language = %(language)s, title = %(title)s,
    status = %(status)s, headline = %(headline)s
WHERE run_id = %(run_id)s AND state = 'waiting'

-- name: put_file
INSERT INTO report_files (run_id, format, content) VALUES (%(run_id)s, %(format)s, %(content)s)

-- name: put_delivery
INSERT INTO report_deliveries (run_id, target, state, next_attempt_at)
VALUES (%(run_id)s, %(target)s, 'waiting', to_timestamp(%(now)s))

-- name: run_put_off
UPDATE report_runs SET last_error = %(error)s, next_attempt_at = to_timestamp(%(next_attempt_at)s)
WHERE run_id = %(run_id)s AND state = 'waiting'

-- name: run_failed
UPDATE report_runs SET state = 'failed', last_error = %(error)s WHERE run_id = %(run_id)s AND state = 'waiting'

-- name: claim_delivery
UPDATE report_deliveries AS d SET attempts = d.attempts + 1, next_attempt_at = to_timestamp(%(until)s)
FROM (
    SELECT run_id, target FROM report_deliveries
    WHERE state = 'waiting' AND next_attempt_at <= to_timestamp(%(now)s)
        AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
    ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED
) AS chosen
WHERE d.run_id = chosen.run_id AND d.target = chosen.target
RETURNING d.run_id, d.target, d.attempts

-- name: delivered
UPDATE report_deliveries SET state = 'delivered', delivered_at = to_timestamp(%(now)s), last_error = %(error)s
WHERE run_id = %(run_id)s AND target = %(target)s

-- name: delivery_put_off
UPDATE report_deliveries SET last_error = %(error)s, next_attempt_at = to_timestamp(%(next_attempt_at)s)
WHERE run_id = %(run_id)s AND target = %(target)s

-- name: delivery_failed
UPDATE report_deliveries SET state = 'failed', last_error = %(error)s WHERE run_id = %(run_id)s AND target = %(target)s

-- name: runs
SELECT
    r.run_id, r.schedule, r.flow, extract(epoch FROM r.period_start)::float8, extract(epoch FROM r.period_end)::float8,
    extract(epoch FROM r.due_at)::float8, r.state, r.trial, r.attempts, extract(epoch FROM r.made_at)::float8, r.last_error,
    r.language, r.title, r.status, r.headline, r.asked_by, r.asked, r.dimensions,
    coalesce((SELECT array_agg(f.format ORDER BY f.format) FROM report_files AS f WHERE f.run_id = r.run_id AND f.format <> 'mail'), '{}'),
    coalesce((
        SELECT jsonb_agg(jsonb_build_object('target', d.target, 'state', d.state, 'attempts', d.attempts, 'error', d.last_error)
            ORDER BY d.target)
        FROM report_deliveries AS d WHERE d.run_id = r.run_id
    ), '[]')
FROM report_runs AS r
WHERE (%(run_id)s::text IS NULL OR r.run_id = %(run_id)s) AND (%(flows)s::text[] IS NULL OR r.flow = ANY (%(flows)s))
ORDER BY r.due_at DESC, r.run_id LIMIT %(limit)s OFFSET %(offset)s

-- name: file
SELECT f.content, r.flow FROM report_files AS f JOIN report_runs AS r USING (run_id)
WHERE f.run_id = %(run_id)s AND f.format = %(format)s

-- name: troubles
-- What went wrong and has not come right: reports and deliveries that failed lately, or are tried again.
SELECT r.run_id, NULL AS target, r.state, r.last_error, extract(epoch FROM r.due_at)::float8
FROM report_runs AS r
WHERE r.last_error IS NOT NULL AND r.state <> 'made' AND r.asked_by IS NULL AND r.due_at >= to_timestamp(%(since)s)
UNION ALL
SELECT d.run_id, d.target, d.state, d.last_error, extract(epoch FROM r.due_at)::float8
FROM report_deliveries AS d JOIN report_runs AS r USING (run_id)
WHERE d.last_error IS NOT NULL AND d.state <> 'delivered' AND r.due_at >= to_timestamp(%(since)s)
ORDER BY 5 DESC, 1, 2 NULLS FIRST LIMIT %(limit)s

-- name: expire
DELETE FROM report_runs WHERE due_at < to_timestamp(%(before)s)

-- name: first_resume_point
INSERT INTO resume_points (source, segment, byte_offset, observations)
VALUES (%(source)s, %(segment)s, %(offset)s, %(observations)s)
ON CONFLICT (source) DO NOTHING
RETURNING source

-- name: advance_resume_point
UPDATE resume_points
SET segment = %(segment)s, byte_offset = %(offset)s, observations = observations + %(observations)s, updated_at = now()
WHERE source = %(source)s AND segment = %(from_segment)s AND byte_offset = %(from_offset)s

-- name: resume_point
SELECT segment, byte_offset FROM resume_points WHERE source = %s

-- name: resume_points
SELECT source, segment, byte_offset, observations, updated_at FROM resume_points ORDER BY source

-- name: forget_resume_points
DELETE FROM resume_points
WHERE starts_with(source, %(prefix)s) AND updated_at < to_timestamp(%(before)s) AND source <> ALL (%(keep)s)

-- name: copy_observations
COPY observations (
    observed_at, duration_seconds, checks, series_id, verdict, source, flow_instance, customer, trace_id, span_id
) FROM STDIN (FORMAT binary)

-- name: copy_window_rollups
COPY window_rollups (
    window_start, sum_seconds, sum_log, sum_log_sq, min_seconds, max_seconds, series_id, answered, good, slow, stale,
    incomplete, wrong, abandoned, timeout, error, window_seconds, origin, rolled, buckets, bucket_counts, checks
) FROM STDIN (FORMAT binary)

-- name: copy_hour_rollups
COPY hour_rollups (
    window_start, sum_seconds, sum_log, sum_log_sq, min_seconds, max_seconds, series_id, answered, good, slow, stale,
    incomplete, wrong, abandoned, timeout, error, window_seconds, origin, buckets, bucket_counts, checks
) FROM STDIN (FORMAT binary)

-- name: newest_series
SELECT coalesce((SELECT max(series_id) FROM series), 0), (SELECT count(*) FROM checks)

-- name: all_series
SELECT series_id, flow, step, dimensions FROM series

-- name: series_of_steps
SELECT s.series_id, s.flow, s.step, s.dimensions
FROM series AS s JOIN unnest(%(flows)s::text[], %(steps)s::text[]) AS wanted (flow, step)
    ON wanted.flow = s.flow AND wanted.step = s.step

-- name: add_series
INSERT INTO series (flow, step, dimensions)
SELECT flow, step, dimensions::jsonb FROM unnest(%(flows)s::text[], %(steps)s::text[], %(dimensions)s::text[]) AS new (flow, step, dimensions)
RETURNING series_id

-- name: all_checks
SELECT flow, step, position, name FROM checks ORDER BY flow, step, position

-- name: checks_of_step
SELECT position, name FROM checks WHERE flow = %s AND step = %s ORDER BY position

-- name: add_check
INSERT INTO checks (flow, step, position, name) VALUES (%s, %s, %s, %s)

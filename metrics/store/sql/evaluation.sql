-- name: progress
SELECT extract(epoch FROM through)::float8, details FROM evaluation_progress WHERE name = %(name)s

-- name: set_progress
INSERT INTO evaluation_progress (name, through, details) VALUES (%(name)s, to_timestamp(%(through)s), %(details)s)
ON CONFLICT (name) DO UPDATE SET through = excluded.through, details = excluded.details, updated_at = now()

-- name: detector_state
SELECT extract(epoch FROM through)::float8, state, settings FROM detector_state WHERE name = %(name)s

-- name: detector_through
SELECT extract(epoch FROM through)::float8 FROM detector_state WHERE name = %(name)s

-- name: set_detector_state
INSERT INTO detector_state (name, through, state, settings)
VALUES (%(name)s, to_timestamp(%(through)s), %(state)s, %(settings)s)
ON CONFLICT (name) DO UPDATE
SET through = excluded.through, state = excluded.state, settings = excluded.settings, updated_at = now()

-- name: newest_baseline
SELECT baseline_id, extract(epoch FROM learned_at)::float8, extract(epoch FROM history_through)::float8, profile, details
FROM baselines WHERE name = %(name)s AND (%(baseline_id)s::bigint IS NULL OR baseline_id = %(baseline_id)s)
ORDER BY learned_at DESC, baseline_id DESC LIMIT 1

-- name: newest_baseline_id
SELECT baseline_id FROM baselines WHERE name = %(name)s ORDER BY learned_at DESC, baseline_id DESC LIMIT 1

-- name: add_baseline
INSERT INTO baselines (name, learned_at, history_from, history_through, profile, details)
VALUES (
    %(name)s, to_timestamp(%(learned_at)s), to_timestamp(%(history_from)s), to_timestamp(%(history_through)s), %(profile)s,
    %(details)s
) RETURNING baseline_id

-- name: prune_baselines
DELETE FROM baselines WHERE name = %(name)s AND baseline_id NOT IN (
    SELECT baseline_id FROM baselines WHERE name = %(name)s ORDER BY learned_at DESC, baseline_id DESC LIMIT %(keep)s
)

-- name: add_bands
-- What was said of hours that are past stays; those to come follow the newest baseline.
INSERT INTO baseline_bands (flow, step, hour, expected_seconds, low_seconds, high_seconds)
SELECT flow, step, to_timestamp(hour), expected, low, high
FROM unnest(
    %(flow)s::text[], %(step)s::text[], %(hour)s::float8[], %(expected)s::float8[], %(low)s::float8[], %(high)s::float8[]
) AS band (flow, step, hour, expected, low, high)
ON CONFLICT (flow, step, hour) DO UPDATE
SET expected_seconds = excluded.expected_seconds, low_seconds = excluded.low_seconds, high_seconds = excluded.high_seconds
WHERE baseline_bands.hour >= to_timestamp(%(learned_until)s)

-- name: prune_bands
DELETE FROM baseline_bands WHERE hour < to_timestamp(%(before)s)

-- name: untaught_spans
-- What must not teach the baseline: spans of alerts that nobody accepted, maintenance windows, and events of these kinds
-- (four hours long when nobody says how long).
SELECT
    extract(epoch FROM started_at)::float8, extract(epoch FROM coalesce(resolved_at, 'infinity'))::float8, flow
FROM alerts
WHERE flow <> '' AND state <> 'pending' AND resolution IS DISTINCT FROM 'accepted' AND resolution IS DISTINCT FROM 'cancelled'
    AND coalesce(resolved_at, 'infinity') >= to_timestamp(%(start)s)
UNION ALL
SELECT extract(epoch FROM starts_at)::float8, extract(epoch FROM ends_at)::float8, document ->> 'flow'
FROM silences WHERE (document ->> 'maintenance')::bool AND ends_at >= to_timestamp(%(start)s)
UNION ALL
SELECT
    extract(epoch FROM at)::float8, extract(epoch FROM coalesce(ended_at, at + interval '4 hours'))::float8, coalesce(flow, '*')
FROM events WHERE kind IN ('incident', 'maintenance') AND coalesce(ended_at, at + interval '4 hours') >= to_timestamp(%(start)s)
ORDER BY 1, 2

-- name: completions
-- Flow instances that passed one of the first steps within the span, and those of them that also passed a last one.
WITH began AS (
    SELECT DISTINCT flow_instance FROM observations
    WHERE observed_at >= to_timestamp(%(start)s) AND observed_at < to_timestamp(%(end)s)
        AND series_id = ANY (%(first)s) AND flow_instance IS NOT NULL AND source <> 3
), ended AS (
    SELECT DISTINCT flow_instance FROM observations
    WHERE observed_at >= to_timestamp(%(start)s) AND observed_at < to_timestamp(%(until)s)
        AND series_id = ANY (%(last)s) AND flow_instance IS NOT NULL AND source <> 3
        AND verdict NOT IN (5, 6, 7)
)
SELECT count(*), count(ended.flow_instance) FROM began LEFT JOIN ended USING (flow_instance)

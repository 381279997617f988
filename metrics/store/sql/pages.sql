-- name: firing
-- What the overview tells of: alerts people were told of that are not over, gravest first.
SELECT document::text FROM alerts WHERE state = 'firing'
ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity), opened_at, alert_id LIMIT %(limit)s

-- name: alerts
-- Every filter is optional; "flows" are those the reader may see (and, of an owner, those of the owner).
SELECT document::text, count(*) OVER () FROM alerts
WHERE state <> 'pending' AND resolution IS DISTINCT FROM 'cancelled'
    AND opened_at < to_timestamp(%(end)s) AND coalesce(resolved_at, 'infinity') >= to_timestamp(%(start)s)
    AND flow = ANY (%(flows)s)
    AND (%(severity)s::text IS NULL OR severity = %(severity)s)
    AND (%(state)s::text IS NULL OR CASE %(state)s
        WHEN 'open' THEN state = 'firing'
        WHEN 'new' THEN state = 'firing' AND acknowledged_at IS NULL
        WHEN 'acknowledged' THEN state = 'firing' AND acknowledged_at IS NOT NULL
        WHEN 'over' THEN state = 'resolved'
    END)
ORDER BY state = 'resolved', opened_at DESC, alert_id LIMIT %(limit)s OFFSET %(offset)s

-- name: search_alerts
SELECT document::text FROM alerts
WHERE state <> 'pending' AND resolution IS DISTINCT FROM 'cancelled' AND flow = ANY (%(flows)s) AND (
    alert_id LIKE %(prefix)s OR (
        SELECT bool_and(
            concat_ws(' ', flow, step, check_name, kind, severity, assignee, acknowledged_by, dimensions::text) ILIKE word
        ) FROM unnest(%(patterns)s::text[]) AS word
    )
)
ORDER BY alert_id LIKE %(prefix)s DESC, state = 'resolved', opened_at DESC, alert_id LIMIT %(limit)s

-- name: search_events
SELECT
    extract(epoch FROM at)::float8, extract(epoch FROM ended_at)::float8, kind, flow, step, title, details, version, identity
FROM events
WHERE kind <> 'improvement' AND (flow IS NULL OR flow = ANY (%(flows)s)) AND (
    SELECT bool_and(concat_ws(' ', title, version, kind, identity) ILIKE word) FROM unnest(%(patterns)s::text[]) AS word
)
ORDER BY at DESC, event_id DESC LIMIT %(limit)s

-- name: coverage_windows
-- Windows in columns; checks only of those that have any, which are told by their widths.
SELECT
    array_send(array_agg(series_id)), array_send(array_agg(window_start)), array_send(array_agg(window_seconds::int)),
    array_send(array_agg(origin)),
    array_send(array_agg(good + slow + stale + incomplete + wrong + abandoned + timeout + error)),
    array_send(array_agg(good + slow + stale + incomplete + wrong - answered)),
    array_send(array_agg(cardinality(checks))), string_agg(array_send(checks), ''::bytea) FILTER (WHERE cardinality(checks) > 0)
FROM window_rollups
WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND series_id = ANY (%(series)s)

-- name: coverage_hours
-- Hours, and windows that are in none yet.
SELECT
    array_send(array_agg(series_id)), array_send(array_agg(window_start)), array_send(array_agg(seconds)),
    array_send(array_agg(origin)),
    array_send(array_agg(good + slow + stale + incomplete + wrong + abandoned + timeout + error)),
    array_send(array_agg(good + slow + stale + incomplete + wrong - answered)),
    array_send(array_agg(cardinality(checks))), string_agg(array_send(checks), ''::bytea) FILTER (WHERE cardinality(checks) > 0)
FROM (
    SELECT
        series_id, window_start, 3600 AS seconds, origin, good, slow, stale, incomplete, wrong, abandoned, timeout, error,
        answered, checks
    FROM hour_rollups
    WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND series_id = ANY (%(series)s)
    UNION ALL
    SELECT
        series_id, window_start, window_seconds, origin, good, slow, stale, incomplete, wrong, abandoned, timeout, error,
        answered, checks
    FROM window_rollups
    WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND series_id = ANY (%(series)s)
        AND NOT rolled
) AS rows

-- name: newest_baseline
SELECT extract(epoch FROM learned_at)::float8, extract(epoch FROM history_from)::float8, extract(epoch FROM history_through)::float8
FROM baselines WHERE name = %(name)s ORDER BY learned_at DESC, baseline_id DESC LIMIT 1

-- name: oldest_hour
SELECT extract(epoch FROM min(window_start))::float8 FROM hour_rollups

-- name: alerts_of_period
SELECT document::text FROM alerts
WHERE flow = %(flow)s AND state <> 'pending' AND resolution IS DISTINCT FROM 'cancelled'
    AND opened_at < to_timestamp(%(end)s) AND coalesce(resolved_at, 'infinity') >= to_timestamp(%(start)s)
ORDER BY opened_at, alert_id LIMIT %(limit)s

-- name: deviations_of_period
SELECT
    kind, flow, step, dimensions, check_name, extract(epoch FROM detected_at)::float8,
    extract(epoch FROM started_at)::float8, extract(epoch FROM started_low)::float8,
    extract(epoch FROM started_high)::float8, effect, effect_low, effect_high, before, after, observations,
    observations_before, evidence
FROM deviations
WHERE flow = %(flow)s AND detected_at >= to_timestamp(%(start)s) AND detected_at < to_timestamp(%(end)s)
ORDER BY detected_at, deviation_id LIMIT %(limit)s

-- name: span_of_flow
-- One look into an index a series, however much there is of it.
SELECT extract(epoch FROM min(least(w.first, h.first)))::float8, extract(epoch FROM max(greatest(w.last, h.last)))::float8
FROM unnest(%(series)s::int[]) AS one (series_id),
    LATERAL (
        SELECT min(window_start) AS first, max(window_start) AS last FROM window_rollups
        WHERE window_rollups.series_id = one.series_id
    ) AS w,
    LATERAL (
        SELECT min(window_start) AS first, max(window_start) AS last FROM hour_rollups
        WHERE hour_rollups.series_id = one.series_id
    ) AS h

-- name: overview_windows
-- Two kinds of rows: sums by series (start is null), and sums by flow and span of time (series_id is null).
SELECT
    series_id, flow, extract(epoch FROM start)::float8, sum(good)::int8, sum(every)::int8, sum(CASE WHEN origin = 2 THEN every ELSE 0 END)::int8,
    extract(epoch FROM least(max(ended_at), now()))::float8
FROM (
    SELECT
        r.series_id, s.flow, date_bin(%(span)s * interval '1 second', r.window_start, to_timestamp(0)) AS start, r.good,
        r.good + r.slow + r.stale + r.incomplete + r.wrong + r.abandoned + r.timeout + r.error AS every, r.origin,
        r.window_start + r.window_seconds * interval '1 second' AS ended_at
    FROM window_rollups AS r JOIN series AS s USING (series_id)
    WHERE r.window_start >= to_timestamp(%(start)s) AND r.window_start < to_timestamp(%(end)s) AND r.origin <> 1
) AS rows
GROUP BY GROUPING SETS ((series_id, flow), (flow, start))

-- name: overview_hours
SELECT
    series_id, flow, extract(epoch FROM start)::float8, sum(good)::int8, sum(every)::int8, sum(CASE WHEN origin = 2 THEN every ELSE 0 END)::int8,
    extract(epoch FROM least(max(ended_at), now()))::float8
FROM (
    SELECT
        r.series_id, s.flow, date_bin(%(span)s * interval '1 second', r.window_start, to_timestamp(0)) AS start, r.good,
        r.good + r.slow + r.stale + r.incomplete + r.wrong + r.abandoned + r.timeout + r.error AS every, r.origin,
        r.window_start + interval '1 hour' AS ended_at
    FROM hour_rollups AS r JOIN series AS s USING (series_id)
    WHERE r.window_start >= to_timestamp(%(start)s) AND r.window_start < to_timestamp(%(end)s) AND r.origin <> 1
    UNION ALL
    SELECT
        r.series_id, s.flow, date_bin(%(span)s * interval '1 second', r.window_start, to_timestamp(0)), r.good,
        r.good + r.slow + r.stale + r.incomplete + r.wrong + r.abandoned + r.timeout + r.error, r.origin,
        r.window_start + r.window_seconds * interval '1 second'
    FROM window_rollups AS r JOIN series AS s USING (series_id)
    WHERE r.window_start >= to_timestamp(%(start)s) AND r.window_start < to_timestamp(%(end)s) AND r.origin <> 1
        AND NOT r.rolled
) AS rows
GROUP BY GROUPING SETS ((series_id, flow), (flow, start))

-- name: open_alerts
SELECT flow, alert_id FROM alerts WHERE state = 'firing'
ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity), opened_at LIMIT 1000

-- name: alerts_listed
SELECT document::text FROM alerts
WHERE state <> 'pending' AND resolution IS DISTINCT FROM 'cancelled'
    AND opened_at < to_timestamp(%(end)s) AND coalesce(resolved_at, 'infinity') >= to_timestamp(%(start)s)
ORDER BY state = 'resolved', opened_at DESC, alert_id LIMIT %(limit)s

-- name: alert
SELECT document::text FROM alerts WHERE alert_id = %(alert_id)s

-- name: transitions
SELECT sequence, kind, extract(epoch FROM at)::float8, actor, note FROM alert_transitions
WHERE alert_id = %(alert_id)s ORDER BY sequence

-- name: bands
SELECT extract(epoch FROM hour)::float8, low_seconds, high_seconds FROM baseline_bands
WHERE flow = %(flow)s AND step = %(step)s AND hour > to_timestamp(%(start)s) - interval '1 hour' AND hour < to_timestamp(%(end)s)
ORDER BY hour

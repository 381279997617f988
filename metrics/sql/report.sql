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
SELECT
    extract(epoch FROM least(
        (SELECT min(window_start) FROM window_rollups WHERE series_id = ANY (%(series)s)),
        (SELECT min(window_start) FROM hour_rollups WHERE series_id = ANY (%(series)s))
    ))::float8,
    extract(epoch FROM greatest(
        (SELECT max(window_start) FROM window_rollups WHERE series_id = ANY (%(series)s)),
        (SELECT max(window_start) FROM hour_rollups WHERE series_id = ANY (%(series)s))
    ))::float8

-- name: overview_windows
SELECT
    series_id, (floor(extract(epoch FROM window_start) / %(span)s) * %(span)s)::float8 AS start, sum(good)::int8,
    sum(good + slow + stale + incomplete + wrong + abandoned + timeout + error)::int8,
    sum((good + slow + stale + incomplete + wrong + abandoned + timeout + error) * (origin = 2)::int)::int8,
    extract(epoch FROM max(window_start + window_seconds * interval '1 second'))::float8
FROM window_rollups
WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND origin <> 1
GROUP BY series_id, start

-- name: overview_hours
SELECT
    series_id, (floor(extract(epoch FROM window_start) / %(span)s) * %(span)s)::float8 AS start, sum(good)::int8,
    sum(good + slow + stale + incomplete + wrong + abandoned + timeout + error)::int8,
    sum((good + slow + stale + incomplete + wrong + abandoned + timeout + error) * (origin = 2)::int)::int8,
    extract(epoch FROM max(last_at))::float8
FROM (
    SELECT series_id, window_start, origin, good, slow, stale, incomplete, wrong, abandoned, timeout, error,
        window_start + interval '1 hour' AS last_at
    FROM hour_rollups
    WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND origin <> 1
    UNION ALL
    SELECT series_id, window_start, origin, good, slow, stale, incomplete, wrong, abandoned, timeout, error,
        window_start + window_seconds * interval '1 second'
    FROM window_rollups
    WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND origin <> 1
        AND NOT rolled
) AS rows
GROUP BY series_id, start

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

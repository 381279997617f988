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

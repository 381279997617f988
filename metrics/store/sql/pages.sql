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
SELECT
    s.flow, s.step, array_agg(DISTINCT extract(epoch FROM r.window_start)::int8) FILTER (WHERE r.origin <> 1),
    extract(epoch FROM max(r.window_start + r.window_seconds * interval '1 second') FILTER (WHERE r.origin <> 1))::float8,
    sum(n.every) FILTER (WHERE r.origin <> 1)::int8, sum(n.every) FILTER (WHERE r.origin = 2)::int8,
    sum(n.every) FILTER (WHERE r.origin = 1)::int8,
    sum(n.every - r.abandoned - r.timeout - r.error - r.answered) FILTER (WHERE r.origin <> 1)::int8,
    sum((SELECT sum(c.amount) FROM unnest(r.checks) WITH ORDINALITY AS c (amount, place) WHERE c.place %% 3 = 0))
        FILTER (WHERE r.origin <> 1)::int8
FROM window_rollups AS r JOIN series AS s USING (series_id),
    LATERAL (SELECT r.good + r.slow + r.stale + r.incomplete + r.wrong + r.abandoned + r.timeout + r.error AS every) AS n
WHERE r.window_start >= to_timestamp(%(start)s) AND r.window_start < to_timestamp(%(end)s) AND s.flow = ANY (%(flows)s)
GROUP BY s.flow, s.step

-- name: coverage_hours
SELECT
    s.flow, s.step, array_agg(DISTINCT extract(epoch FROM date_trunc('hour', r.window_start, 'UTC'))::int8) FILTER (WHERE r.origin <> 1),
    extract(epoch FROM max(r.ended_at) FILTER (WHERE r.origin <> 1))::float8,
    sum(r.every) FILTER (WHERE r.origin <> 1)::int8, sum(r.every) FILTER (WHERE r.origin = 2)::int8,
    sum(r.every) FILTER (WHERE r.origin = 1)::int8, sum(r.answerable - r.answered) FILTER (WHERE r.origin <> 1)::int8,
    sum((SELECT sum(c.amount) FROM unnest(r.checks) WITH ORDINALITY AS c (amount, place) WHERE c.place %% 3 = 0))
        FILTER (WHERE r.origin <> 1)::int8
FROM (
    SELECT
        h.series_id, h.window_start, h.window_start + interval '1 hour' AS ended_at, h.origin, h.answered, h.checks,
        h.good + h.slow + h.stale + h.incomplete + h.wrong + h.abandoned + h.timeout + h.error AS every,
        h.good + h.slow + h.stale + h.incomplete + h.wrong AS answerable
    FROM hour_rollups AS h
    WHERE h.window_start >= to_timestamp(%(start)s) AND h.window_start < to_timestamp(%(end)s)
    UNION ALL
    SELECT
        w.series_id, w.window_start, w.window_start + w.window_seconds * interval '1 second', w.origin, w.answered, w.checks,
        w.good + w.slow + w.stale + w.incomplete + w.wrong + w.abandoned + w.timeout + w.error,
        w.good + w.slow + w.stale + w.incomplete + w.wrong
    FROM window_rollups AS w
    WHERE w.window_start >= to_timestamp(%(start)s) AND w.window_start < to_timestamp(%(end)s) AND NOT w.rolled
) AS r JOIN series AS s USING (series_id)
WHERE s.flow = ANY (%(flows)s)
GROUP BY s.flow, s.step

-- name: newest_baseline
SELECT extract(epoch FROM learned_at)::float8, extract(epoch FROM history_from)::float8, extract(epoch FROM history_through)::float8
FROM baselines WHERE name = %(name)s ORDER BY learned_at DESC, baseline_id DESC LIMIT 1

-- name: oldest_hour
SELECT extract(epoch FROM min(window_start))::float8 FROM hour_rollups

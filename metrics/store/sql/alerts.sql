-- name: lock
-- One at a time may change alerts; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || %(name)s, 727002))

-- name: current_alerts
SELECT document::text FROM alerts
WHERE state <> 'resolved' OR resolved_at >= to_timestamp(%(resolved_after)s)
ORDER BY opened_at, alert_id

-- name: alerts
SELECT document::text FROM alerts
WHERE (%(states)s::text[] IS NULL OR state = ANY (%(states)s)) AND (%(flow)s::text IS NULL OR flow = %(flow)s)
    AND opened_at >= to_timestamp(%(since)s)
ORDER BY opened_at DESC, alert_id LIMIT %(limit)s

-- name: alert
SELECT document::text FROM alerts WHERE alert_id LIKE %(prefix)s || '%%' ORDER BY alert_id LIMIT 2

-- name: save_alert
INSERT INTO alerts (
    alert_id, state, severity, kind, flow, step, dimensions, check_name, opened_at, started_at, fired_at, resolved_at,
    resolution, acknowledged_at, acknowledged_by, assignee, document
) VALUES (
    %(alert_id)s, %(state)s, %(severity)s, %(kind)s, %(flow)s, %(step)s, %(dimensions)s, %(check_name)s,
    to_timestamp(%(opened_at)s), to_timestamp(%(started_at)s), to_timestamp(%(fired_at)s), to_timestamp(%(resolved_at)s),
    %(resolution)s, to_timestamp(%(acknowledged_at)s), %(acknowledged_by)s, %(assignee)s, %(document)s::jsonb
)
ON CONFLICT (alert_id) DO UPDATE SET
    state = excluded.state, severity = excluded.severity, kind = excluded.kind, flow = excluded.flow, step = excluded.step,
    dimensions = excluded.dimensions, check_name = excluded.check_name, started_at = excluded.started_at,
    fired_at = excluded.fired_at, resolved_at = excluded.resolved_at, resolution = excluded.resolution,
    acknowledged_at = excluded.acknowledged_at, acknowledged_by = excluded.acknowledged_by, assignee = excluded.assignee,
    document = excluded.document, updated_at = now()

-- name: save_transition
INSERT INTO alert_transitions (alert_id, sequence, kind, at, actor, note)
VALUES (%(alert_id)s, %(sequence)s, %(kind)s, to_timestamp(%(at)s), %(actor)s, %(note)s)

-- name: transitions
SELECT sequence, kind, extract(epoch FROM at)::float8, actor, note FROM alert_transitions
WHERE alert_id = %(alert_id)s ORDER BY sequence

-- name: save_deviation
INSERT INTO deviations (
    kind, flow, step, dimensions, check_name, detected_at, started_at, started_low, started_high, effect, effect_low,
    effect_high, before, after, observations, observations_before, evidence, details, alert_id
) VALUES (
    %(kind)s, %(flow)s, %(step)s, %(dimensions)s, %(check_name)s, to_timestamp(%(detected_at)s), to_timestamp(%(started_at)s),
    to_timestamp(%(started_low)s), to_timestamp(%(started_high)s), %(effect)s, %(effect_low)s, %(effect_high)s, %(before)s,
    %(after)s, %(observations)s, %(observations_before)s, %(evidence)s, %(details)s, %(alert_id)s
) ON CONFLICT DO NOTHING

-- name: silences
SELECT document::text FROM silences WHERE ends_at >= to_timestamp(%(ending_after)s) ORDER BY starts_at, silence_id

-- name: find_silences
SELECT document::text FROM silences WHERE starts_with(silence_id, %(prefix)s) ORDER BY silence_id LIMIT 2

-- name: save_silence
INSERT INTO silences (silence_id, starts_at, ends_at, author, comment, document)
VALUES (
    %(silence_id)s, to_timestamp(%(starts_at)s), to_timestamp(%(ends_at)s), %(author)s, %(comment)s, %(document)s::jsonb
)
ON CONFLICT (silence_id) DO UPDATE
SET starts_at = excluded.starts_at, ends_at = excluded.ends_at, comment = excluded.comment, document = excluded.document

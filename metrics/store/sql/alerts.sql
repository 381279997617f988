-- name: lock
-- One at a time may change alerts; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || %(name)s, 727002))

-- name: try_session_lock
SELECT pg_try_advisory_lock(hashtextextended(current_schema() || %(name)s, 727003))

-- name: progress
SELECT extract(epoch FROM through)::float8, details FROM evaluation_progress WHERE name = %(name)s

-- name: set_progress
INSERT INTO evaluation_progress (name, through, details) VALUES (%(name)s, to_timestamp(%(through)s), %(details)s)
ON CONFLICT (name) DO UPDATE SET through = excluded.through, details = excluded.details, updated_at = now()

-- name: detector_state
SELECT extract(epoch FROM through)::float8, state, settings FROM detector_state WHERE name = %(name)s

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

-- name: enqueue
INSERT INTO deliveries (alert_id, sequence, notifier, state, next_attempt_at, message, created_at)
VALUES (
    %(alert_id)s, %(sequence)s, %(notifier)s, 'waiting', to_timestamp(%(not_before)s), %(message)s::jsonb, to_timestamp(%(now)s)
) ON CONFLICT DO NOTHING

-- name: claim
-- The next messages of a notifier that are due, oldest first; a message waits for the earlier ones of its alert.
UPDATE deliveries SET attempts = attempts + 1, next_attempt_at = to_timestamp(%(lease_until)s)
WHERE delivery_id IN (
    SELECT d.delivery_id FROM deliveries AS d
    WHERE d.state = 'waiting' AND d.notifier = %(notifier)s AND d.next_attempt_at <= to_timestamp(%(now)s)
        AND NOT EXISTS (
            SELECT 1 FROM deliveries AS earlier
            WHERE earlier.notifier = d.notifier AND earlier.alert_id = d.alert_id AND earlier.state = 'waiting'
                AND earlier.sequence < d.sequence AND earlier.next_attempt_at > to_timestamp(%(now)s)
        )
    ORDER BY d.delivery_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) RETURNING delivery_id, attempts, extract(epoch FROM created_at)::float8, message::text

-- name: delivered
UPDATE deliveries
SET state = 'delivered', delivered_at = to_timestamp(%(now)s), last_error = NULL, next_attempt_at = NULL
WHERE delivery_id = ANY (%(ids)s)

-- name: retry
UPDATE deliveries SET next_attempt_at = to_timestamp(%(at)s), last_error = %(error)s WHERE delivery_id = ANY (%(ids)s)

-- name: failed
UPDATE deliveries SET state = 'failed', last_error = %(error)s, next_attempt_at = NULL WHERE delivery_id = ANY (%(ids)s)

-- name: waiting
SELECT
    notifier, count(*), extract(epoch FROM min(created_at))::float8, extract(epoch FROM min(next_attempt_at))::float8,
    max(last_error)
FROM deliveries WHERE state = 'waiting' GROUP BY notifier ORDER BY notifier

-- name: given_up
SELECT notifier, last_error, count(*), extract(epoch FROM max(created_at))::float8
FROM deliveries WHERE state = 'failed' AND created_at >= to_timestamp(%(since)s)
GROUP BY notifier, last_error ORDER BY notifier, max(created_at) DESC

-- name: recent_calls
-- When calls were made: an attempt is noted on the message itself, so that limits hold over restarts.
SELECT extract(epoch FROM called_at)::float8 FROM notifier_calls
WHERE notifier = %(notifier)s AND called_at > to_timestamp(%(after)s) ORDER BY called_at

-- name: note_call
INSERT INTO notifier_calls (notifier, called_at) VALUES (%(notifier)s, to_timestamp(%(now)s))

-- name: prune_calls
DELETE FROM notifier_calls WHERE called_at < to_timestamp(%(before)s)

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

-- name: alertmanager_posts
SELECT alert_id, extract(epoch FROM firing_posted_at)::float8, extract(epoch FROM resolved_posted_at)::float8
FROM alertmanager_posts WHERE notifier = %(notifier)s

-- name: note_firing_post
INSERT INTO alertmanager_posts (notifier, alert_id, firing_posted_at)
SELECT %(notifier)s, id, to_timestamp(%(now)s) FROM unnest(%(ids)s::text[]) AS id
ON CONFLICT (notifier, alert_id) DO UPDATE SET
    firing_posted_at = CASE WHEN alertmanager_posts.resolved_posted_at IS NULL
        THEN alertmanager_posts.firing_posted_at ELSE excluded.firing_posted_at END,
    resolved_posted_at = NULL

-- name: note_resolved_post
UPDATE alertmanager_posts SET resolved_posted_at = to_timestamp(%(now)s)
WHERE notifier = %(notifier)s AND alert_id = ANY (%(ids)s) AND resolved_posted_at IS NULL

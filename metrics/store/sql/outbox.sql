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

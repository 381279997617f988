-- name: fresh_boundary
-- The key up to which about %(limit)s appended rows of closed windows lie.
SELECT extract(epoch FROM window_start)::int8, series_id
FROM (
    SELECT window_start, series_id FROM window_rollups
    WHERE NOT rolled AND window_start < to_timestamp(%(closed_before)s)
    ORDER BY window_start, series_id
    LIMIT %(limit)s
) AS oldest
ORDER BY window_start DESC, series_id DESC
LIMIT 1

-- name: take_fresh
DELETE FROM window_rollups
WHERE NOT rolled AND (window_start, series_id) <= (to_timestamp(%(window)s), %(series)s)
RETURNING *

-- name: take_rolled
DELETE FROM window_rollups AS w
USING unnest(%(windows)s::int8[], %(series)s::int[]) AS keys (epoch, series_id)
WHERE w.rolled AND w.window_start = to_timestamp(keys.epoch) AND w.series_id = keys.series_id
RETURNING w.*

-- name: take_hours
DELETE FROM hour_rollups AS h
USING unnest(%(windows)s::int8[], %(series)s::int[]) AS keys (epoch, series_id)
WHERE h.window_start = to_timestamp(keys.epoch) AND h.series_id = keys.series_id
RETURNING h.*

-- name: oldest_fresh
SELECT extract(epoch FROM min(window_start))::float8 FROM window_rollups WHERE NOT rolled

-- name: expire_observations
DELETE FROM observations WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM observations WHERE observed_at < to_timestamp(%(before)s) LIMIT %(limit)s
))

-- name: expire_windows
DELETE FROM window_rollups WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM window_rollups WHERE window_start < to_timestamp(%(before)s) AND rolled LIMIT %(limit)s
))

-- name: expire_hours
DELETE FROM hour_rollups WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM hour_rollups WHERE window_start < to_timestamp(%(before)s) LIMIT %(limit)s
))

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
-- The span lets chunks and block ranges be passed over. coalesce hides the statistics of the flag: after an import they
-- say that no row has it, and the keys would be gone through once for each row that has it meanwhile.
DELETE FROM window_rollups AS w
USING unnest(%(windows)s::int8[], %(series)s::int[]) AS keys (epoch, series_id)
WHERE coalesce(w.rolled, false)
    AND w.window_start >= to_timestamp(%(first)s) AND w.window_start <= to_timestamp(%(last)s)
    AND w.window_start = to_timestamp(keys.epoch) AND w.series_id = keys.series_id
RETURNING w.*

-- name: limit_time
SELECT set_config('statement_timeout', %s, true)

-- name: analyze
-- What the planner believes is of before, when much was added or rolled forward at once.
ANALYZE observations, window_rollups, hour_rollups, series

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

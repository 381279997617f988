-- name: note_hours
-- Hours to which windows were added; those of series that had been digested already are done again.
INSERT INTO digest_hours (hour)
SELECT DISTINCT to_timestamp(keys.hour) FROM unnest(%(hours)s::int8[]) AS keys (hour)
ON CONFLICT (hour) DO NOTHING

-- name: note_late
INSERT INTO digest_late (hour, series_id)
SELECT DISTINCT to_timestamp(keys.hour), keys.series_id
FROM unnest(%(hours)s::int8[], %(series)s::int[]) AS keys (hour, series_id)
    JOIN digest_hours AS known ON known.hour = to_timestamp(keys.hour)
WHERE known.digested_at IS NOT NULL OR keys.series_id <= known.series_through
ON CONFLICT DO NOTHING

-- name: waiting_hours
-- The newest day that has hours to digest, and those of them that are equally far.
SELECT extract(epoch FROM hour)::int8, series_through
FROM digest_hours
WHERE digested_at IS NULL AND hour < to_timestamp(%(before)s) AND hour >= to_timestamp(%(oldest)s)
ORDER BY hour DESC
LIMIT 24

-- name: next_series
SELECT series_id FROM series WHERE series_id > %(after)s ORDER BY series_id LIMIT %(limit)s

-- name: advance_hours
UPDATE digest_hours
SET series_through = %(through)s, digested_at = CASE WHEN %(done)s THEN to_timestamp(%(now)s) END
WHERE hour = ANY (SELECT to_timestamp(one) FROM unnest(%(hours)s::int8[]) AS one)

-- name: late_day
SELECT extract(epoch FROM hour)::int8, array_agg(series_id ORDER BY series_id)
FROM (
    SELECT hour, series_id FROM digest_late
    WHERE hour >= to_timestamp(%(oldest)s)
    ORDER BY hour, series_id
    LIMIT %(limit)s
) AS late
GROUP BY hour
ORDER BY hour
LIMIT 1

-- name: forget_late
DELETE FROM digest_late WHERE hour = to_timestamp(%(hour)s) AND series_id = ANY (%(series)s)

-- name: days
SELECT series_id, digest FROM window_digests WHERE day = to_timestamp(%(day)s)::date AND series_id = ANY (%(series)s)

-- name: put_days
INSERT INTO window_digests (day, series_id, digest)
SELECT to_timestamp(%(day)s)::date, new.series_id, new.digest
FROM unnest(%(series)s::int[], %(digests)s::bytea[]) AS new (series_id, digest)
ON CONFLICT (series_id, day) DO UPDATE SET digest = excluded.digest

-- name: days_of_series
SELECT series_id, extract(epoch FROM day)::int8, digest
FROM window_digests
WHERE series_id = ANY (%(series)s) AND day >= to_timestamp(%(start)s)::date AND day < to_timestamp(%(end)s)::date

-- name: digested_hours
SELECT extract(epoch FROM hour)::int8 FROM digest_hours
WHERE digested_at IS NOT NULL AND hour >= to_timestamp(%(start)s) AND hour < to_timestamp(%(end)s)
ORDER BY hour

-- name: known_hours
-- The oldest hour there is, the first and the last within a span.
SELECT
    extract(epoch FROM (SELECT min(hour) FROM digest_hours))::float8, extract(epoch FROM min(hour))::float8,
    extract(epoch FROM max(hour))::float8
FROM digest_hours
WHERE hour > to_timestamp(%(start)s) - interval '1 hour' AND hour < to_timestamp(%(end)s)

-- name: windows_between
SELECT extract(epoch FROM min(window_start))::float8, extract(epoch FROM max(window_start))::float8
FROM window_rollups
WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s)

-- name: expire_days
DELETE FROM window_digests WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM window_digests WHERE day < to_timestamp(%(before)s)::date LIMIT %(limit)s
))

-- name: expire_hours
DELETE FROM digest_hours WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM digest_hours WHERE hour < to_timestamp(%(before)s) LIMIT %(limit)s
))

-- name: expire_late
DELETE FROM digest_late WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM digest_late WHERE hour < to_timestamp(%(before)s) LIMIT %(limit)s
))

-- name: clock
SELECT extract(epoch FROM clock_timestamp())::float8

-- name: durability
SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')

-- name: size
SELECT pg_database_size(current_database())

-- name: newest
SELECT
    extract(epoch FROM max(updated_at))::float8,
    coalesce(sum(observations), 0)::int8
FROM resume_points

-- name: fresh
SELECT count(*), extract(epoch FROM min(window_start))::float8
FROM window_rollups WHERE NOT rolled AND window_start < to_timestamp(%(before)s)

-- name: capped
SELECT flow || '/' || step FROM series WHERE dimensions::text LIKE '%%"other"%%' GROUP BY flow, step ORDER BY 1 LIMIT 5

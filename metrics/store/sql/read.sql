-- name: columns
-- Follows "WITH rows AS (…)": the rows in columns, in slices that keep each value far below the server's 1 GB limit.
SELECT
    window_seconds,
    array_send(array_agg(window_start)), array_send(array_agg(series_id)),
    array_send(array_agg(origin)), array_send(array_agg(answered)), array_send(array_agg(sum_seconds)),
    array_send(array_agg(sum_log)), array_send(array_agg(sum_log_sq)), array_send(array_agg(min_seconds)),
    array_send(array_agg(max_seconds)), array_send(array_agg(good)), array_send(array_agg(slow)),
    array_send(array_agg(stale)), array_send(array_agg(incomplete)), array_send(array_agg(wrong)),
    array_send(array_agg(abandoned)), array_send(array_agg(timeout)), array_send(array_agg(error)),
    array_send(array_agg(cardinality(buckets))), string_agg(array_send(buckets), ''::bytea),
    string_agg(array_send(bucket_counts), ''::bytea), array_send(array_agg(cardinality(checks))),
    string_agg(array_send(checks), ''::bytea)
FROM (SELECT *, (row_number() OVER () - 1) / 20000 AS slice FROM rows) AS numbered
GROUP BY window_seconds, slice
ORDER BY window_seconds, slice

-- name: windows
SELECT * FROM window_rollups
WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND origin = ANY (%(origins)s)

-- name: windows_of_series
SELECT * FROM window_rollups
WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND origin = ANY (%(origins)s)
    AND series_id = ANY (%(series)s)

-- name: fresh_windows
SELECT * FROM window_rollups
WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND origin = ANY (%(origins)s)
    AND NOT rolled

-- name: fresh_windows_of_series
SELECT * FROM window_rollups
WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND origin = ANY (%(origins)s)
    AND NOT rolled AND series_id = ANY (%(series)s)

-- name: hours
SELECT * FROM hour_rollups
WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND origin = ANY (%(origins)s)

-- name: hours_of_series
SELECT * FROM hour_rollups
WHERE window_start >= to_timestamp(%(start)s) AND window_start < to_timestamp(%(end)s) AND origin = ANY (%(origins)s)
    AND series_id = ANY (%(series)s)

-- name: span
SELECT
    extract(epoch FROM least((SELECT min(window_start) FROM window_rollups), (SELECT min(window_start) FROM hour_rollups)))::float8,
    extract(epoch FROM greatest((SELECT max(window_start) FROM window_rollups), (SELECT max(window_start) FROM hour_rollups)))::float8

-- name: customers_hit
SELECT count(DISTINCT customer), count(DISTINCT flow_instance), count(*)
FROM observations
WHERE observed_at >= to_timestamp(%(start)s) AND observed_at < to_timestamp(%(end)s)
    AND series_id = ANY (%(series)s) AND verdict = ANY (%(verdicts)s)
    AND duration_seconds >= %(at_least_seconds)s AND source <> 3

-- name: worst_examples
SELECT
    extract(epoch FROM observed_at)::float8, duration_seconds, verdict, series_id, trace_id, span_id, flow_instance, source
FROM observations
WHERE observed_at >= to_timestamp(%(start)s) AND observed_at < to_timestamp(%(end)s)
    AND series_id = ANY (%(series)s) AND verdict = ANY (%(verdicts)s) AND source <> 3
ORDER BY verdict DESC, nullif(duration_seconds, 'NaN') DESC NULLS LAST, observed_at DESC
LIMIT %(limit)s

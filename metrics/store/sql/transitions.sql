-- name: size
-- How many observations %(series)s have with a flow instance in the span.
SELECT count(*) FROM observations
WHERE observed_at >= to_timestamp(%(start)s) AND observed_at < to_timestamp(%(end)s)
    AND flow_instance IS NOT NULL AND source <> 3 AND series_id = ANY (%(series)s)

-- name: passages
-- They in columns; of the instances that fall to one of %(parts)s parts.
SELECT
    array_send(array_agg(series_id)), array_send(array_agg(verdict)), array_send(array_agg(source)),
    array_send(array_agg(observed_at)), array_send(array_agg(duration_seconds)), array_send(array_agg(flow_instance))
FROM observations
WHERE observed_at >= to_timestamp(%(start)s) AND observed_at < to_timestamp(%(end)s)
    AND flow_instance IS NOT NULL AND source <> 3 AND series_id = ANY (%(series)s)
    AND (%(parts)s = 1 OR get_byte(uuid_send(flow_instance), 15) %% %(parts)s = %(part)s)

-- name: stale_hours
-- Hours of a span with more (or fewer) observations in and around them than when their instances were counted.
WITH totals AS (
    SELECT hour, sum(observations)::int8 AS observations
    FROM (
        SELECT window_start AS hour, good + slow + stale + incomplete + wrong + abandoned + timeout + error AS observations
        FROM hour_rollups
        WHERE window_start >= to_timestamp(%(start)s) - interval '1 hour'
            AND window_start < to_timestamp(%(end)s) + interval '2 hours' AND origin <> 1
        UNION ALL
        SELECT
            date_bin('1 hour', window_start, to_timestamp(0)),
            good + slow + stale + incomplete + wrong + abandoned + timeout + error
        FROM window_rollups
        WHERE window_start >= to_timestamp(%(start)s) - interval '1 hour'
            AND window_start < to_timestamp(%(end)s) + interval '2 hours' AND origin <> 1 AND NOT rolled
    ) AS rows
    GROUP BY hour
), around AS (
    SELECT
        hour,
        sum(observations) OVER (
            ORDER BY hour RANGE BETWEEN interval '1 hour' PRECEDING AND interval '2 hours' FOLLOWING
        )::int8 AS observations
    FROM totals
)
SELECT extract(epoch FROM around.hour)::int8, around.observations
FROM around LEFT JOIN transition_hours AS counted USING (hour)
WHERE around.hour >= to_timestamp(%(start)s) AND around.hour < to_timestamp(%(end)s)
    AND counted.observations IS DISTINCT FROM around.observations
ORDER BY around.hour
LIMIT %(limit)s

-- name: forget_instances
DELETE FROM instance_rollups WHERE hour >= to_timestamp(%(start)s) AND hour < to_timestamp(%(end)s)

-- name: forget_transitions
DELETE FROM transition_rollups WHERE hour >= to_timestamp(%(start)s) AND hour < to_timestamp(%(end)s)

-- name: add_instances
COPY instance_rollups (hour, flow, step, origin, reached, given_up, hit) FROM STDIN

-- name: add_transitions
COPY transition_rollups (hour, flow, from_step, to_step, origin, passings) FROM STDIN

-- name: mark_counted
INSERT INTO transition_hours (hour, observations, counted_at)
VALUES (to_timestamp(%(hour)s), %(observations)s, to_timestamp(%(now)s))
ON CONFLICT (hour) DO UPDATE SET observations = excluded.observations, counted_at = excluded.counted_at

-- name: forget_instance_slices
DELETE FROM instance_slices WHERE slice = ANY (%(slices)s::timestamptz[])

-- name: forget_transition_slices
DELETE FROM transition_slices WHERE slice = ANY (%(slices)s::timestamptz[])

-- name: all_instance_slices
SELECT slice, flow, step, origin, reached, given_up, hit, under_way FROM instance_slices
WHERE slice >= to_timestamp(%(start)s) AND slice < to_timestamp(%(end)s)

-- name: all_transition_slices
SELECT slice, flow, from_step, to_step, origin, passings FROM transition_slices
WHERE slice >= to_timestamp(%(start)s) AND slice < to_timestamp(%(end)s)

-- name: add_instance_slices
COPY instance_slices (slice, flow, step, origin, reached, given_up, hit, under_way) FROM STDIN

-- name: add_transition_slices
COPY transition_slices (slice, flow, from_step, to_step, origin, passings) FROM STDIN

-- name: mark_slices
-- Slices that begin in the span, those without any instance too.
INSERT INTO counted_slices (slice, counted_at)
SELECT one, to_timestamp(%(now)s)
FROM generate_series(to_timestamp(%(start)s), to_timestamp(%(end)s), %(seconds)s * interval '1 second') AS one
WHERE one < to_timestamp(%(end)s)
ON CONFLICT (slice) DO UPDATE SET counted_at = excluded.counted_at

-- name: forget_old_instance_slices
DELETE FROM instance_slices WHERE slice < to_timestamp(%(before)s)

-- name: forget_old_transition_slices
DELETE FROM transition_slices WHERE slice < to_timestamp(%(before)s)

-- name: forget_old_counted_slices
DELETE FROM counted_slices WHERE slice < to_timestamp(%(before)s)

-- name: counted_hours
SELECT extract(epoch FROM hour)::int8 FROM transition_hours
WHERE hour >= to_timestamp(%(start)s) AND hour < to_timestamp(%(end)s) ORDER BY hour

-- name: counted_slices
-- Slices that were counted when their instances were over, or not long ago.
SELECT extract(epoch FROM slice)::int8, extract(epoch FROM counted_at)::float8 FROM counted_slices
WHERE slice >= to_timestamp(%(start)s) AND slice < to_timestamp(%(end)s)
    AND (counted_at >= slice + %(over)s * interval '1 second' OR counted_at >= to_timestamp(%(since)s))
ORDER BY slice

-- name: instances
SELECT extract(epoch FROM hour)::int8, step, origin, reached, given_up, hit FROM instance_rollups
WHERE flow = %(flow)s AND hour >= to_timestamp(%(start)s) AND hour < to_timestamp(%(end)s)
    AND hour = ANY (SELECT to_timestamp(one) FROM unnest(%(hours)s::int8[]) AS one)

-- name: transitions
SELECT from_step, to_step, origin, sum(passings)::int8 FROM transition_rollups
WHERE flow = %(flow)s AND hour >= to_timestamp(%(start)s) AND hour < to_timestamp(%(end)s)
    AND hour = ANY (SELECT to_timestamp(one) FROM unnest(%(hours)s::int8[]) AS one)
GROUP BY from_step, to_step, origin ORDER BY from_step, to_step, origin

-- name: instance_slices
SELECT extract(epoch FROM slice)::int8, step, origin, reached, given_up, hit, under_way FROM instance_slices
WHERE flow = %(flow)s AND slice = ANY (SELECT to_timestamp(one) FROM unnest(%(slices)s::int8[]) AS one)

-- name: transition_slices
SELECT from_step, to_step, origin, sum(passings)::int8 FROM transition_slices
WHERE flow = %(flow)s AND slice = ANY (SELECT to_timestamp(one) FROM unnest(%(slices)s::int8[]) AS one)
GROUP BY from_step, to_step, origin ORDER BY from_step, to_step, origin

-- name: limit_time
SELECT set_config('statement_timeout', %(milliseconds)s, true)

-- name: expire_instances
DELETE FROM instance_rollups WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM instance_rollups WHERE hour < to_timestamp(%(before)s) LIMIT %(limit)s
))

-- name: expire_transitions
DELETE FROM transition_rollups WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM transition_rollups WHERE hour < to_timestamp(%(before)s) LIMIT %(limit)s
))

-- name: expire_transition_hours
DELETE FROM transition_hours WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM transition_hours WHERE hour < to_timestamp(%(before)s) LIMIT %(limit)s
))

-- name: customers
-- Distinct customers of a flow in a span, and those with an answer that was not good; probes are left out.
SELECT count(DISTINCT customer), count(DISTINCT customer) FILTER (WHERE verdict <> 0)
FROM observations
WHERE observed_at >= to_timestamp(%(start)s) AND observed_at < to_timestamp(%(end)s)
    AND series_id = ANY (%(series)s) AND customer IS NOT NULL AND source <> 3

-- name: has_data
-- Whether there is anything in the hours around a span.
SELECT EXISTS (
    SELECT FROM hour_rollups
    WHERE series_id = ANY (%(series)s) AND window_start > to_timestamp(%(start)s - 3600) AND window_start < to_timestamp(%(end)s)
) OR EXISTS (
    SELECT FROM window_rollups
    WHERE NOT rolled AND series_id = ANY (%(series)s)
        AND window_start > to_timestamp(%(start)s - 60) AND window_start < to_timestamp(%(end)s)
)

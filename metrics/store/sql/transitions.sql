-- name: count
-- Flow instances that began in the span, and their transitions: kind 'i' has reached, given up and hit by step (empty:
-- the flow), and those under way; kind 't' has passings from step to step (empty: began, ended). A pause longer than
-- "gap" ends an instance, and none is followed for longer than "longest".
WITH passed AS (
    SELECT
        s.flow, s.step, o.flow_instance, o.verdict, o.observed_at, CASE o.source WHEN 5 THEN 2 ELSE 0 END AS origin,
        o.observed_at
            - CASE WHEN o.duration_seconds BETWEEN 0 AND 86400 THEN o.duration_seconds ELSE 0 END * interval '1 second'
            AS asked_at
    FROM observations AS o JOIN series AS s USING (series_id)
    WHERE o.observed_at >= to_timestamp(%(start)s - %(gap)s) AND o.observed_at < to_timestamp(%(end)s + %(longest)s)
        AND o.flow_instance IS NOT NULL AND o.source <> 3 AND s.flow = ANY (%(flows)s)
), spaced AS (
    SELECT *, coalesce(observed_at - lag(observed_at) OVER answers > %(gap)s * interval '1 second', true) AS begins
    FROM passed
    WINDOW answers AS (PARTITION BY flow, flow_instance ORDER BY observed_at)
), numbered AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER answers AS visit
    FROM spaced
    WINDOW answers AS (PARTITION BY flow, flow_instance ORDER BY observed_at)
), dated AS (
    SELECT *, min(observed_at) OVER visits AS began_at, max(origin) OVER visits AS of_origin
    FROM numbered
    WINDOW visits AS (PARTITION BY flow, flow_instance, visit)
), followed AS MATERIALIZED (
    SELECT
        flow, flow_instance, visit, of_origin AS origin, step, verdict, observed_at,
        date_bin('1 hour', began_at, to_timestamp(0)) AS hour, lag(step) OVER questions AS earlier,
        lead(step) OVER questions AS later
    FROM dated
    WHERE began_at >= to_timestamp(%(start)s) AND began_at < to_timestamp(%(end)s)
        AND observed_at < began_at + %(longest)s * interval '1 second'
    WINDOW questions AS (PARTITION BY flow, flow_instance, visit ORDER BY asked_at, observed_at, step)
), visits AS MATERIALIZED (
    SELECT
        f.flow, f.flow_instance, f.visit, f.hour, f.origin, bool_or(f.verdict <> 0) AS hit,
        bool_or(f.verdict <= 4 AND ends.step IS NOT NULL) AS completed,
        max(f.observed_at) >= to_timestamp(%(open_since)s) AS under_way
    FROM followed AS f
        LEFT JOIN unnest(%(end_flows)s::text[], %(end_steps)s::text[]) AS ends (flow, step)
            ON ends.flow = f.flow AND ends.step = f.step
    GROUP BY f.flow, f.flow_instance, f.visit, f.hour, f.origin
), settled AS MATERIALIZED (
    SELECT f.*, v.completed
    FROM followed AS f JOIN visits AS v USING (flow, flow_instance, visit)
    WHERE NOT v.under_way
), by_step AS (
    SELECT flow, hour, origin, step, completed, bool_or(verdict <> 0) AS hit, bool_or(later IS NULL) AS last
    FROM settled
    GROUP BY flow, flow_instance, visit, hour, origin, step, completed
)
SELECT
    'i' AS kind, flow, extract(epoch FROM hour)::int8 AS hour, origin, '' AS one, '' AS other,
    count(*) FILTER (WHERE NOT under_way), count(*) FILTER (WHERE NOT completed AND NOT under_way),
    count(*) FILTER (WHERE hit AND NOT under_way), count(*) FILTER (WHERE under_way)
FROM visits GROUP BY flow, hour, origin
UNION ALL
SELECT
    'i', flow, extract(epoch FROM hour)::int8, origin, step, '', count(*),
    count(*) FILTER (WHERE last AND NOT completed), count(*) FILTER (WHERE hit), 0
FROM by_step GROUP BY flow, hour, origin, step
UNION ALL
SELECT 't', flow, extract(epoch FROM hour)::int8, origin, coalesce(earlier, ''), step, count(*), 0, 0, 0
FROM settled GROUP BY flow, hour, origin, earlier, step
UNION ALL
SELECT 't', flow, extract(epoch FROM hour)::int8, origin, step, '', count(*), 0, 0, 0
FROM settled WHERE later IS NULL GROUP BY flow, hour, origin, step

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
DELETE FROM instance_rollups WHERE hour = to_timestamp(%(hour)s)

-- name: forget_transitions
DELETE FROM transition_rollups WHERE hour = to_timestamp(%(hour)s)

-- name: add_instances
INSERT INTO instance_rollups (hour, flow, step, origin, reached, given_up, hit)
VALUES (to_timestamp(%(hour)s), %(flow)s, %(step)s, %(origin)s, %(reached)s, %(given_up)s, %(hit)s)

-- name: add_transitions
INSERT INTO transition_rollups (hour, flow, from_step, to_step, origin, passings)
VALUES (to_timestamp(%(hour)s), %(flow)s, %(from_step)s, %(to_step)s, %(origin)s, %(passings)s)

-- name: mark_counted
INSERT INTO transition_hours (hour, observations, counted_at)
VALUES (to_timestamp(%(hour)s), %(observations)s, to_timestamp(%(now)s))
ON CONFLICT (hour) DO UPDATE SET observations = excluded.observations, counted_at = excluded.counted_at

-- name: counted_hours
SELECT extract(epoch FROM hour)::int8 FROM transition_hours
WHERE hour >= to_timestamp(%(start)s) AND hour < to_timestamp(%(end)s) ORDER BY hour

-- name: instances
SELECT extract(epoch FROM hour)::int8, step, origin, reached, given_up, hit FROM instance_rollups
WHERE flow = %(flow)s AND hour = ANY (SELECT to_timestamp(one) FROM unnest(%(hours)s::int8[]) AS one)

-- name: transitions
SELECT extract(epoch FROM hour)::int8, from_step, to_step, origin, passings FROM transition_rollups
WHERE flow = %(flow)s AND hour = ANY (SELECT to_timestamp(one) FROM unnest(%(hours)s::int8[]) AS one)

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
SELECT EXISTS (
    SELECT FROM hour_rollups
    WHERE series_id = ANY (%(series)s) AND window_start >= to_timestamp(%(start)s - 3600) AND window_start < to_timestamp(%(end)s)
)

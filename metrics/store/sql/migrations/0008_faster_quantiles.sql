-- The functions that dashboards ask, taking sketches apart in half the time: arrays in the list of columns, not in FROM.

CREATE OR REPLACE FUNCTION quantiles(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, qs float8[],
    dimension_filter jsonb DEFAULT '{}'
) RETURNS TABLE (q float8, seconds float8) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    -- Arrays taken apart in the list of columns take half as long as in FROM.
    WITH cells AS (
        SELECT entry.bucket, sum(entry.amount)::float8 AS amount
        FROM (
            SELECT unnest(r.buckets) AS bucket, unnest(r.bucket_counts) AS amount
            FROM rollup_rows(flow_name, step_name, from_time, to_time, dimension_filter) AS r
        ) AS entry
        GROUP BY entry.bucket
    ), running AS (
        SELECT
            cells.bucket,
            cells.amount,
            sum(cells.amount) OVER (ORDER BY cells.bucket) AS ends,
            sum(cells.amount) OVER () AS total
        FROM cells
    ), ranks AS (
        SELECT
            wanted.q,
            bucket_seconds(min(running.bucket) FILTER (WHERE ends > floor((total - 1) * wanted.q))) AS low,
            bucket_seconds(min(running.bucket) FILTER (WHERE ends > ceil((total - 1) * wanted.q))) AS high,
            max(total) AS total
        FROM unnest(qs) AS wanted (q) LEFT JOIN running
            ON ends > floor((total - 1) * wanted.q) AND ends - amount <= ceil((total - 1) * wanted.q)
        GROUP BY wanted.q
    )
    SELECT ranks.q, low + (high - low) * (((total - 1) * ranks.q) - floor((total - 1) * ranks.q)) FROM ranks ORDER BY ranks.q;
END;

CREATE OR REPLACE FUNCTION quantile_timeseries(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, bucket interval,
    qs float8[] DEFAULT ARRAY[0.5, 0.95, 0.99], dimension_filter jsonb DEFAULT '{}'
) RETURNS TABLE ("time" timestamptz, q float8, seconds float8) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH cells AS (
        SELECT entry."time", entry.bucket, sum(entry.amount)::float8 AS amount
        FROM (
            SELECT r."time", unnest(r.buckets) AS bucket, unnest(r.bucket_counts) AS amount
            FROM timeseries_rows(flow_name, step_name, from_time, to_time, bucket, dimension_filter) AS r
        ) AS entry
        GROUP BY entry."time", entry.bucket
    ), running AS (
        SELECT
            cells."time", cells.bucket, cells.amount,
            sum(cells.amount) OVER (PARTITION BY cells."time" ORDER BY cells.bucket) AS ends,
            sum(cells.amount) OVER (PARTITION BY cells."time") AS total
        FROM cells
    ), ranks AS (
        SELECT
            running."time", wanted.q,
            bucket_seconds(min(running.bucket) FILTER (WHERE ends > floor((total - 1) * wanted.q))) AS low,
            bucket_seconds(min(running.bucket) FILTER (WHERE ends > ceil((total - 1) * wanted.q))) AS high,
            max(total) AS total
        FROM unnest(qs) AS wanted (q) JOIN running
            ON ends > floor((total - 1) * wanted.q) AND ends - amount <= ceil((total - 1) * wanted.q)
        GROUP BY running."time", wanted.q
    )
    SELECT ranks."time", ranks.q, low + (high - low) * (((total - 1) * ranks.q) - floor((total - 1) * ranks.q))
    FROM ranks ORDER BY ranks."time", ranks.q;
END;

CREATE OR REPLACE FUNCTION distribution(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, dimension_filter jsonb DEFAULT '{}'
) RETURNS TABLE (bucket int, above_seconds float8, up_to_seconds float8, observations int8)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT entry.bucket::int, power(1.02::float8, entry.bucket - 1), power(1.02::float8, entry.bucket), sum(entry.amount)::int8
    FROM (
        SELECT unnest(r.buckets) AS bucket, unnest(r.bucket_counts) AS amount
        FROM rollup_rows(flow_name, step_name, from_time, to_time, dimension_filter) AS r
    ) AS entry
    GROUP BY entry.bucket
    ORDER BY entry.bucket;
END;

CREATE OR REPLACE FUNCTION dimension_summary(
    flow_name text, step_name text, dimension_name text, from_time timestamptz, to_time timestamptz
) RETURNS TABLE (value text, observations int8, good_answer_ratio float8, mean_seconds float8, p50_seconds float8, p95_seconds float8)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH rows AS MATERIALIZED (
        SELECT coalesce(r.dimensions ->> dimension_name, '') AS value, r.*
        FROM rollup_rows(flow_name, step_name, from_time, to_time) AS r
    ), added AS (
        SELECT
            rows.value,
            sum(rows.good + rows.slow + rows.stale + rows.incomplete + rows.wrong + rows.abandoned + rows.timeout + rows.error)::int8
                AS observations,
            sum(rows.good)::int8 AS good, sum(rows.answered)::int8 AS answered, sum(rows.sum_seconds) AS sum_seconds
        FROM rows GROUP BY rows.value
    ), sketches AS (
        SELECT cell.value, ROW(array_agg(cell.bucket ORDER BY cell.bucket), array_agg(cell.amount ORDER BY cell.bucket))::sketch AS merged
        FROM (
            SELECT entry.value, entry.bucket, sum(entry.amount)::int8 AS amount
            FROM (
                SELECT rows.value, unnest(rows.buckets) AS bucket, unnest(rows.bucket_counts) AS amount FROM rows
            ) AS entry
            GROUP BY entry.value, entry.bucket
        ) AS cell
        GROUP BY cell.value
    )
    SELECT added.value, added.observations, added.good / nullif(added.observations, 0)::float8,
        added.sum_seconds / nullif(added.answered, 0), sketch_quantile(merged, 0.5), sketch_quantile(merged, 0.95)
    FROM added LEFT JOIN sketches ON sketches.value = added.value
    ORDER BY added.observations DESC, added.value;
END;

-- The whole schema as it stands after the last migration; a test compares the two. Change both together.

-- The store. Runs with search_path = <schema>, public; every name below is made in <schema>.

-- What is measured ------------------------------------------------------------------------------------------------

CREATE TABLE series (
    series_id  int  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    flow       text NOT NULL,
    step       text NOT NULL,
    dimensions jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX series_identity ON series (flow, step, md5(dimensions::text)); -- an index row is at most 2.7 kB
COMMENT ON TABLE series IS 'A flow''s step with its dimension values; never deleted, because rollups point here.';

CREATE TABLE checks (
    flow       text NOT NULL,
    step       text NOT NULL,
    position   int2 NOT NULL CHECK (position BETWEEN 0 AND 31),
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (flow, step, position),
    UNIQUE (flow, step, name)
);
COMMENT ON TABLE checks IS 'Position of each check in observations.checks and rollups.checks; never used again for another check.';

-- Widest columns first: no padding between them. No unique index (exactly once comes from resume_points), no index by
-- series (reads by series are served by the rollups).
CREATE TABLE observations (
    observed_at      timestamptz NOT NULL,
    duration_seconds float8 NOT NULL,
    checks           int8 NOT NULL,
    span_id          int8,
    series_id        int  NOT NULL,
    verdict          int2 NOT NULL,
    source           int2 NOT NULL,
    flow_instance    uuid,
    customer         uuid,
    trace_id         uuid
);
COMMENT ON COLUMN observations.observed_at IS 'When the answer had arrived.';
COMMENT ON COLUMN observations.duration_seconds IS 'NaN if the sender gave no usable duration.';
COMMENT ON COLUMN observations.checks IS 'Two bits a check at its position: 0 not evaluated, 1 passed, 2 failed, 3 unknown.';
COMMENT ON COLUMN observations.verdict IS '0 good, 1 slow, 2 stale, 3 incomplete, 4 wrong, 5 abandoned, 6 timeout, 7 error.';
COMMENT ON COLUMN observations.source IS '0 recorder, 1 otlp, 2 beacon, 3 probe, 4 import, 5 simulated.';
COMMENT ON COLUMN observations.customer IS 'Keyed token (HMAC), never an identity.';
CREATE INDEX observations_observed_at ON observations USING brin (observed_at) WITH (pages_per_range = 32, autosummarize = on);

CREATE TABLE window_rollups (
    window_start   timestamptz NOT NULL,
    sum_seconds    float8 NOT NULL,
    sum_log        float8 NOT NULL,
    sum_log_sq     float8 NOT NULL,
    min_seconds    float8 NOT NULL,
    max_seconds    float8 NOT NULL,
    series_id      int  NOT NULL,
    answered       int  NOT NULL,
    good           int  NOT NULL,
    slow           int  NOT NULL,
    stale          int  NOT NULL,
    incomplete     int  NOT NULL,
    wrong          int  NOT NULL,
    abandoned      int  NOT NULL,
    timeout        int  NOT NULL,
    error          int  NOT NULL,
    window_seconds int2 NOT NULL,
    origin         int2 NOT NULL,
    rolled         bool NOT NULL DEFAULT false,
    buckets        int2[] NOT NULL,
    bucket_counts  int[]  NOT NULL,
    checks         int[]  NOT NULL
);
COMMENT ON TABLE window_rollups IS 'Appended by the writer, several rows a key; added up into one row once the window has closed.';
COMMENT ON COLUMN window_rollups.answered IS 'Observations with an answer and a usable duration: what the sums and the sketch describe.';
COMMENT ON COLUMN window_rollups.origin IS '0 customer, 1 probe, 2 simulated.';
COMMENT ON COLUMN window_rollups.rolled IS 'Whether this row is already contained in hour_rollups.';
COMMENT ON COLUMN window_rollups.buckets IS 'Sketch: bucket b holds durations in (1.02^(b-1), 1.02^b] seconds; ascending.';
COMMENT ON COLUMN window_rollups.checks IS 'Three numbers a check position: passed, failed, unknown.';
CREATE INDEX window_rollups_series ON window_rollups (series_id, window_start);
CREATE INDEX window_rollups_window ON window_rollups USING brin (window_start) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX window_rollups_fresh ON window_rollups (window_start, series_id) WHERE NOT rolled;

CREATE TABLE hour_rollups (
    window_start   timestamptz NOT NULL,
    sum_seconds    float8 NOT NULL,
    sum_log        float8 NOT NULL,
    sum_log_sq     float8 NOT NULL,
    min_seconds    float8 NOT NULL,
    max_seconds    float8 NOT NULL,
    series_id      int  NOT NULL,
    answered       int  NOT NULL,
    good           int  NOT NULL,
    slow           int  NOT NULL,
    stale          int  NOT NULL,
    incomplete     int  NOT NULL,
    wrong          int  NOT NULL,
    abandoned      int  NOT NULL,
    timeout        int  NOT NULL,
    error          int  NOT NULL,
    window_seconds int2 NOT NULL,
    origin         int2 NOT NULL,
    buckets        int2[] NOT NULL,
    bucket_counts  int[]  NOT NULL,
    checks         int[]  NOT NULL,
    PRIMARY KEY (series_id, window_start, origin)
);
COMMENT ON TABLE hour_rollups IS 'Sum of the window_rollups that have rolled = true, by hour; kept longer than they.';
CREATE INDEX hour_rollups_window ON hour_rollups (window_start);

-- What learning needs of windows, a hundredth of their size -------------------------------------------------------

CREATE TABLE window_digests (
    day       date NOT NULL,
    series_id int  NOT NULL,
    digest    bytea NOT NULL,
    PRIMARY KEY (series_id, day)
);
ALTER TABLE window_digests ALTER COLUMN digest SET STORAGE EXTERNAL; -- it is compressed already
COMMENT ON TABLE window_digests IS 'All windows of a series and UTC day in columns: what baselines are learnt from.';
CREATE INDEX window_digests_day ON window_digests (day);

CREATE TABLE digest_hours (
    hour           timestamptz PRIMARY KEY,
    series_through int NOT NULL DEFAULT 0,
    digested_at    timestamptz
);
COMMENT ON TABLE digest_hours IS 'Hours that have windows, and how far their digests are: those of series up to series_through, of all once digested_at is set.';
CREATE INDEX digest_hours_waiting ON digest_hours (hour) WHERE digested_at IS NULL;

CREATE TABLE digest_late (
    hour      timestamptz NOT NULL,
    series_id int NOT NULL,
    PRIMARY KEY (hour, series_id)
);
COMMENT ON TABLE digest_late IS 'Series with windows that came after their hour had been digested: it is done again.';

-- Where people went: how flow instances pass from step to step, kept longer than single observations.

CREATE TABLE instance_rollups (
    hour         timestamptz NOT NULL,
    flow         text NOT NULL,
    step         text NOT NULL DEFAULT '',
    origin       int2 NOT NULL,
    reached      int  NOT NULL,
    given_up     int  NOT NULL,
    hit          int  NOT NULL,
    PRIMARY KEY (flow, hour, origin, step)
);
COMMENT ON TABLE instance_rollups IS 'Flow instances by the hour in which they began; step empty: of the flow as a whole.';
COMMENT ON COLUMN instance_rollups.reached IS 'Instances that passed the step, once or often.';
COMMENT ON COLUMN instance_rollups.given_up IS 'Instances whose last step this was and that reached no step at which the flow may end.';
COMMENT ON COLUMN instance_rollups.hit IS 'Instances that had an answer here that was not good.';
CREATE INDEX instance_rollups_hour ON instance_rollups (hour);

CREATE TABLE transition_rollups (
    hour         timestamptz NOT NULL,
    flow         text NOT NULL,
    from_step    text NOT NULL DEFAULT '',
    to_step      text NOT NULL DEFAULT '',
    origin       int2 NOT NULL,
    passings     int  NOT NULL,
    PRIMARY KEY (flow, hour, origin, from_step, to_step)
);
COMMENT ON TABLE transition_rollups IS 'Consecutive steps of flow instances, by the hour in which these began; from empty: it began, to empty: it ended.';
CREATE INDEX transition_rollups_hour ON transition_rollups (hour);

CREATE TABLE transition_hours (
    hour         timestamptz PRIMARY KEY,
    observations int8 NOT NULL,
    counted_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE transition_hours IS 'Hours whose instances have been counted, and how many observations there were then: counted again when there are more.';

CREATE TABLE instance_slices (
    slice        timestamptz NOT NULL,
    flow         text NOT NULL,
    step         text NOT NULL DEFAULT '',
    origin       int2 NOT NULL,
    reached      int  NOT NULL,
    given_up     int  NOT NULL,
    hit          int  NOT NULL,
    under_way    int  NOT NULL DEFAULT 0,
    PRIMARY KEY (flow, slice, origin, step)
);
COMMENT ON TABLE instance_slices IS 'As instance_rollups, by five minutes, of the last days; what is not over yet is counted anew all the time.';
COMMENT ON COLUMN instance_slices.under_way IS 'Instances left out because they may go on; of the flow as a whole.';
CREATE INDEX instance_slices_slice ON instance_slices (slice);

CREATE TABLE transition_slices (
    slice        timestamptz NOT NULL,
    flow         text NOT NULL,
    from_step    text NOT NULL DEFAULT '',
    to_step      text NOT NULL DEFAULT '',
    origin       int2 NOT NULL,
    passings     int  NOT NULL,
    PRIMARY KEY (flow, slice, origin, from_step, to_step)
);
COMMENT ON TABLE transition_slices IS 'As transition_rollups, by five minutes, of the last days.';
CREATE INDEX transition_slices_slice ON transition_slices (slice);

CREATE TABLE counted_slices (
    slice      timestamptz PRIMARY KEY,
    counted_at timestamptz NOT NULL
);
COMMENT ON TABLE counted_slices IS 'Five minutes whose instances have been counted, and from what was known when.';

-- How far the figures can be trusted.

CREATE TABLE quality_rollups (
    hour   timestamptz NOT NULL,
    flow   text NOT NULL DEFAULT '',
    step   text NOT NULL DEFAULT '',
    reason text NOT NULL,
    amount int8 NOT NULL,
    PRIMARY KEY (flow, hour, step, reason)
);
COMMENT ON TABLE quality_rollups IS 'What came late, was corrected, came twice or was lost; of what is in no rollup this is the only trace.';
COMMENT ON COLUMN quality_rollups.hour IS 'Hour of the observations, where their time was known; else of the loss.';
COMMENT ON COLUMN quality_rollups.flow IS 'Empty where it could not be known; so is step.';
COMMENT ON COLUMN quality_rollups.amount IS 'Observations; requests of the reasons request_…, stretches of the spool of corrupt and torn.';
CREATE INDEX quality_rollups_hour ON quality_rollups (hour);

-- How far things are ----------------------------------------------------------------------------------------------

CREATE TABLE resume_points (
    source        text PRIMARY KEY,
    segment       int8 NOT NULL,
    byte_offset   int8 NOT NULL,
    observations  int8 NOT NULL DEFAULT 0,
    updated_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE resume_points IS 'How far each spool has been written; advanced in the transaction that writes the observations.';

CREATE TABLE evaluation_progress (
    name       text PRIMARY KEY,
    through    timestamptz NOT NULL,
    details    jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE detector_state (
    name       text PRIMARY KEY,
    through    timestamptz NOT NULL,
    state      bytea NOT NULL,
    settings   jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN detector_state.through IS 'The state contains every window that ended at or before this.';

-- What is normal, and what is not ---------------------------------------------------------------------------------

CREATE TABLE baselines (
    baseline_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL,
    flow            text,
    step            text,
    learned_at      timestamptz NOT NULL,
    history_from    timestamptz NOT NULL,
    history_through timestamptz NOT NULL,
    profile         bytea NOT NULL,
    details         jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX baselines_newest ON baselines (name, learned_at DESC);

CREATE TABLE baseline_bands (
    hour             timestamptz NOT NULL,
    expected_seconds float8 NOT NULL,
    low_seconds      float8 NOT NULL,
    high_seconds     float8 NOT NULL,
    flow             text NOT NULL,
    step             text NOT NULL,
    PRIMARY KEY (flow, step, hour)
);
COMMENT ON TABLE baseline_bands IS 'Typical duration (geometric mean) usual in each hour, and the range of 95 of 100 windows.';
CREATE INDEX baseline_bands_hour ON baseline_bands (hour);

CREATE TABLE alerts (
    alert_id        text PRIMARY KEY,
    state           text NOT NULL CHECK (state IN ('pending', 'firing', 'resolved')),
    severity        text NOT NULL,
    kind            text NOT NULL,
    flow            text NOT NULL,
    step            text,
    dimensions      jsonb NOT NULL DEFAULT '{}',
    check_name      text,
    opened_at       timestamptz NOT NULL,
    started_at      timestamptz NOT NULL,
    fired_at        timestamptz,
    resolved_at     timestamptz,
    resolution      text,
    acknowledged_at timestamptz,
    acknowledged_by text,
    assignee        text,
    document        jsonb NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN alerts.document IS 'The whole alert; the columns repeat what queries ask for.';
CREATE INDEX alerts_opened ON alerts (opened_at);
CREATE INDEX alerts_unresolved ON alerts (opened_at) WHERE state <> 'resolved';

CREATE TABLE deviations (
    deviation_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind                text NOT NULL,
    flow                text NOT NULL,
    step                text,
    dimensions          jsonb NOT NULL DEFAULT '{}',
    check_name          text,
    detected_at         timestamptz NOT NULL,
    started_at          timestamptz NOT NULL,
    started_low         timestamptz NOT NULL,
    started_high        timestamptz NOT NULL,
    effect              float8 NOT NULL,
    effect_low          float8 NOT NULL,
    effect_high         float8 NOT NULL,
    before              float8 NOT NULL,
    after               float8 NOT NULL,
    observations        int8 NOT NULL,
    observations_before int8 NOT NULL,
    evidence            jsonb NOT NULL DEFAULT '{}',
    details             jsonb NOT NULL DEFAULT '{}',
    alert_id            text REFERENCES alerts,
    created_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (kind, flow, step, dimensions, check_name, detected_at)
);
CREATE INDEX deviations_detected ON deviations (detected_at);
CREATE INDEX deviations_alert ON deviations (alert_id) WHERE alert_id IS NOT NULL;

CREATE TABLE alert_transitions (
    alert_id text NOT NULL REFERENCES alerts,
    sequence int  NOT NULL,
    kind     text NOT NULL,
    at       timestamptz NOT NULL,
    actor    text NOT NULL DEFAULT '',
    note     text NOT NULL DEFAULT '',
    details  jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (alert_id, sequence)
);
COMMENT ON COLUMN alert_transitions.actor IS 'Who did it; empty when the evaluator did.';
CREATE INDEX alert_transitions_at ON alert_transitions (at);

CREATE TABLE silences (
    silence_id text PRIMARY KEY,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    author     text NOT NULL,
    comment    text NOT NULL DEFAULT '',
    document   jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX silences_span ON silences (ends_at, starts_at);

CREATE TABLE deliveries (
    delivery_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id        text NOT NULL,
    sequence        int  NOT NULL,
    notifier        text NOT NULL,
    state           text NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts        int  NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    delivered_at    timestamptz,
    last_error      text,
    message         jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (alert_id, sequence, notifier),
    FOREIGN KEY (alert_id, sequence) REFERENCES alert_transitions
);
CREATE INDEX deliveries_waiting ON deliveries (next_attempt_at) WHERE state = 'waiting';

CREATE TABLE notifier_calls (
    notifier  text NOT NULL,
    called_at timestamptz NOT NULL
);
COMMENT ON TABLE notifier_calls IS 'Calls to services with a rate limit; older ones are deleted.';
CREATE INDEX notifier_calls_recent ON notifier_calls (notifier, called_at);

CREATE TABLE alertmanager_posts (
    notifier           text NOT NULL,
    alert_id           text NOT NULL REFERENCES alerts,
    firing_posted_at   timestamptz NOT NULL,
    resolved_posted_at timestamptz,
    PRIMARY KEY (notifier, alert_id)
);
COMMENT ON COLUMN alertmanager_posts.firing_posted_at IS 'When Alertmanager first took the alert as firing.';
COMMENT ON COLUMN alertmanager_posts.resolved_posted_at IS 'When it first took its end.';

CREATE TABLE events (
    event_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    ended_at   timestamptz,
    kind       text NOT NULL,
    flow       text,
    step       text,
    title      text NOT NULL,
    details    jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    version    text,
    identity   text
);
COMMENT ON TABLE events IS 'Deployments, configuration changes, maintenance: what may coincide with a deviation.';
COMMENT ON COLUMN events.identity IS 'Chosen by the sender, unique in its flow: sending it again changes the event.';
CREATE INDEX events_at ON events (at);
CREATE UNIQUE INDEX events_identity ON events (coalesce(flow, ''), identity);

CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text NOT NULL,
    action   text NOT NULL,
    subject  text NOT NULL DEFAULT '',
    details  jsonb NOT NULL DEFAULT '{}',
    address  text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN audit.address IS 'From where: a network address, or "command line".';
CREATE INDEX audit_at ON audit (at);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % only grows: rows are neither changed nor deleted', TG_TABLE_NAME;
END;
$$;
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Who may see and do what ----------------------------------------------------------------------------------------

CREATE TABLE accounts (
    account_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    role            text NOT NULL CHECK (role IN ('viewer', 'analyst', 'engineer', 'admin')),
    password        text,
    issuer          text,
    subject         text,
    flows           text[],
    dimensions      jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL,
    password_set_at timestamptz,
    signed_in_at    timestamptz,
    disabled_at     timestamptz,
    UNIQUE (issuer, subject),
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    CHECK ((issuer IS NULL) = (password IS NOT NULL))
);
COMMENT ON TABLE accounts IS 'People who sign in: with a password kept here as an Argon2id hash, or at an OpenID provider.';
COMMENT ON COLUMN accounts.flows IS 'Flows that may be seen; null: all.';
COMMENT ON COLUMN accounts.dimensions IS 'Dimension values that may be seen, {"branch": ["A"]}; {}: all.';

CREATE TABLE sessions (
    session_hash bytea PRIMARY KEY,
    account_id   bigint NOT NULL REFERENCES accounts,
    created_at   timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,
    address      text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN sessions.session_hash IS 'SHA-256 of the identifier that only the browser has.';
CREATE INDEX sessions_account ON sessions (account_id, created_at);
CREATE INDEX sessions_seen ON sessions (seen_at);

CREATE TABLE service_tokens (
    token_id     text PRIMARY KEY,
    name         text NOT NULL,
    secret_hash  bytea NOT NULL,
    role         text NOT NULL CHECK (role IN ('viewer', 'analyst', 'engineer')),
    flows        text[],
    dimensions   jsonb NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL,
    created_by   text NOT NULL,
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    used_at      timestamptz,
    used_from    text NOT NULL DEFAULT ''
);
COMMENT ON TABLE service_tokens IS 'Programs that read the pages and reports: what their tokens let them do and see.';
COMMENT ON COLUMN service_tokens.secret_hash IS 'SHA-256 of 256 random bits that only the program has.';
CREATE UNIQUE INDEX service_tokens_name ON service_tokens (name) WHERE revoked_at IS NULL;

-- The improvement ledger --------------------------------------------------------------------------------------------

CREATE TABLE improvements (
    improvement_id text PRIMARY KEY,
    flow           text NOT NULL,
    step           text NOT NULL,
    measure        text NOT NULL,
    dimensions     jsonb NOT NULL DEFAULT '{}',
    action         text NOT NULL,
    owner          text NOT NULL DEFAULT '',
    due            date,
    finding        text NOT NULL DEFAULT '',
    note           text NOT NULL DEFAULT '',
    planned_at     timestamptz NOT NULL,
    done_at        timestamptz,
    dropped_at     timestamptz,
    CHECK (done_at IS NULL OR dropped_at IS NULL)
);
COMMENT ON TABLE improvements IS 'What teams decided to do about findings, since when it is in effect, or that it was given up.';
COMMENT ON COLUMN improvements.measure IS 'The figure that is to get better: p50, p95, p99, good_rate, or check:NAME.';
COMMENT ON COLUMN improvements.dimensions IS 'For which customers, {"channel": "app"}; {}: all.';
CREATE INDEX improvements_flow ON improvements (flow, planned_at);

CREATE TABLE improvement_trail (
    improvement_id text NOT NULL REFERENCES improvements ON DELETE CASCADE,
    sequence       int  NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL DEFAULT '',
    action         text NOT NULL,
    details        jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (improvement_id, sequence)
);
COMMENT ON TABLE improvement_trail IS 'Who did what to an entry of the ledger, and when.';

-- Scheduled reports -----------------------------------------------------------------------------------------------

CREATE TABLE report_schedules (
    name       text PRIMARY KEY,
    first_seen timestamptz NOT NULL
);
COMMENT ON TABLE report_schedules IS 'Since when a schedule is configured: periods that ended before are not made up.';

CREATE TABLE report_runs (
    run_id          text PRIMARY KEY,
    schedule        text NOT NULL,
    flow            text NOT NULL,
    period_start    timestamptz NOT NULL,
    period_end      timestamptz NOT NULL,
    due_at          timestamptz NOT NULL,
    state           text NOT NULL CHECK (state IN ('waiting', 'made', 'failed')),
    trial           bool NOT NULL DEFAULT false,
    attempts        int  NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    made_at         timestamptz,
    last_error      text,
    language        text,
    title           text,
    status          text,
    headline        text,
    asked_by        text,
    asked           jsonb NOT NULL DEFAULT '{}',
    dimensions      jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN report_runs.asked_by IS 'Who had it made on a page; null when a schedule did.';
COMMENT ON COLUMN report_runs.asked IS 'What was asked for: comparison, formats, language.';
COMMENT ON COLUMN report_runs.dimensions IS 'Of which customers it speaks, {"branch": ["north"]}; {}: all.';
CREATE INDEX report_runs_asked ON report_runs (due_at) WHERE asked_by IS NOT NULL;
COMMENT ON COLUMN report_runs.status IS 'Kind of the headline: alert, worse, better, no_evidence, unclear, too_few, level, no_data.';
CREATE UNIQUE INDEX report_runs_period ON report_runs (schedule, flow, period_start, period_end) WHERE NOT trial;
CREATE INDEX report_runs_due ON report_runs (due_at);
CREATE INDEX report_runs_waiting ON report_runs (next_attempt_at) WHERE state = 'waiting';

CREATE TABLE report_files (
    run_id     text NOT NULL REFERENCES report_runs ON DELETE CASCADE,
    format     text NOT NULL,
    content    bytea NOT NULL,
    PRIMARY KEY (run_id, format)
);

CREATE TABLE report_deliveries (
    run_id          text NOT NULL REFERENCES report_runs ON DELETE CASCADE,
    target          text NOT NULL,
    state           text NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts        int  NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    delivered_at    timestamptz,
    last_error      text,
    PRIMARY KEY (run_id, target)
);
COMMENT ON COLUMN report_deliveries.target IS 'A notifier''s name, or folder.';
CREATE INDEX report_deliveries_waiting ON report_deliveries (next_attempt_at) WHERE state = 'waiting';

-- The sketch, for SQL ---------------------------------------------------------------------------------------------
-- Function bodies are in the SQL standard's form: names are bound when the function is made, whatever search_path says.

CREATE FUNCTION bucket_seconds(bucket int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT exp(bucket * ln(1.02::float8)) * (2 / 2.02::float8);
END;
COMMENT ON FUNCTION bucket_seconds IS 'The duration that stands for a bucket, within 1 % of every duration in it.';

CREATE TYPE sketch AS (buckets int2[], counts int8[]);

CREATE FUNCTION sketch_append(state sketch, buckets int2[], counts int[]) RETURNS sketch LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT ROW((state).buckets || buckets, (state).counts || counts::int8[])::sketch;
END;

CREATE FUNCTION sketch_union(state sketch) RETURNS sketch LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT ROW(array_agg(cell.bucket ORDER BY cell.bucket), array_agg(cell.amount ORDER BY cell.bucket))::sketch
    FROM (
        SELECT entry.bucket, sum(entry.amount)::int8 AS amount
        FROM unnest((state).buckets, (state).counts) AS entry (bucket, amount)
        GROUP BY entry.bucket
    ) AS cell;
END;

CREATE AGGREGATE sketch_merge(buckets int2[], counts int[]) (
    SFUNC = sketch_append, STYPE = sketch, FINALFUNC = sketch_union, INITCOND = '("{}","{}")', PARALLEL = SAFE
);
COMMENT ON AGGREGATE sketch_merge(int2[], int[]) IS 'Adds up sketches, for up to a few thousand rows; quantiles() is faster.';

CREATE FUNCTION sketch_quantile(state sketch, q float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT low + (high - low) * (((total - 1) * q) - floor((total - 1) * q))
    FROM (
        SELECT
            bucket_seconds(min(bucket) FILTER (WHERE ends > floor((total - 1) * q))) AS low,
            bucket_seconds(min(bucket) FILTER (WHERE ends > ceil((total - 1) * q))) AS high,
            max(total) AS total
        FROM (
            SELECT
                entry.bucket,
                sum(entry.amount::float8) OVER (ORDER BY entry.bucket) AS ends,
                sum(entry.amount::float8) OVER () AS total
            FROM unnest((state).buckets, (state).counts) AS entry (bucket, amount)
        ) AS running
    ) AS ranks;
END;

-- Questions of any span, answered from rollups --------------------------------------------------------------------

CREATE FUNCTION rollup_rows(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, dimension_filter jsonb DEFAULT '{}'
) RETURNS TABLE (
    window_start timestamptz, series_id int, step text, dimensions jsonb, origin int2, answered int, sum_seconds float8,
    sum_log float8, sum_log_sq float8, min_seconds float8, max_seconds float8, good int, slow int, stale int,
    incomplete int, wrong int, abandoned int, timeout int, error int, buckets int2[], bucket_counts int[], checks int[]
) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    -- Whole hours come from hour_rollups and what is not yet in them; the span's edges from windows.
    SELECT r.window_start, s.series_id, s.step, s.dimensions, r.origin, r.answered, r.sum_seconds,
        r.sum_log, r.sum_log_sq, r.min_seconds, r.max_seconds, r.good, r.slow, r.stale,
        r.incomplete, r.wrong, r.abandoned, r.timeout, r.error, r.buckets, r.bucket_counts, r.checks
    FROM series AS s JOIN hour_rollups AS r ON r.series_id = s.series_id
    WHERE s.flow = flow_name AND (step_name IS NULL OR s.step = step_name) AND s.dimensions @> dimension_filter
        AND r.origin <> 1
        AND r.window_start >= date_trunc('hour', from_time + interval '1 hour' - interval '1 microsecond', 'UTC')
        AND r.window_start < date_trunc('hour', to_time, 'UTC')
    UNION ALL
    SELECT r.window_start, s.series_id, s.step, s.dimensions, r.origin, r.answered, r.sum_seconds,
        r.sum_log, r.sum_log_sq, r.min_seconds, r.max_seconds, r.good, r.slow, r.stale,
        r.incomplete, r.wrong, r.abandoned, r.timeout, r.error, r.buckets, r.bucket_counts, r.checks
    FROM series AS s JOIN window_rollups AS r ON r.series_id = s.series_id
    WHERE s.flow = flow_name AND (step_name IS NULL OR s.step = step_name) AND s.dimensions @> dimension_filter
        AND r.origin <> 1 AND NOT r.rolled
        AND r.window_start >= date_trunc('hour', from_time + interval '1 hour' - interval '1 microsecond', 'UTC')
        AND r.window_start < date_trunc('hour', to_time, 'UTC')
    UNION ALL
    SELECT r.window_start, s.series_id, s.step, s.dimensions, r.origin, r.answered, r.sum_seconds,
        r.sum_log, r.sum_log_sq, r.min_seconds, r.max_seconds, r.good, r.slow, r.stale,
        r.incomplete, r.wrong, r.abandoned, r.timeout, r.error, r.buckets, r.bucket_counts, r.checks
    FROM series AS s JOIN window_rollups AS r ON r.series_id = s.series_id
    WHERE s.flow = flow_name AND (step_name IS NULL OR s.step = step_name) AND s.dimensions @> dimension_filter
        AND r.origin <> 1
        AND r.window_start >= from_time
        AND r.window_start
            < least(date_trunc('hour', from_time + interval '1 hour' - interval '1 microsecond', 'UTC'), to_time)
    UNION ALL
    SELECT r.window_start, s.series_id, s.step, s.dimensions, r.origin, r.answered, r.sum_seconds,
        r.sum_log, r.sum_log_sq, r.min_seconds, r.max_seconds, r.good, r.slow, r.stale,
        r.incomplete, r.wrong, r.abandoned, r.timeout, r.error, r.buckets, r.bucket_counts, r.checks
    FROM series AS s JOIN window_rollups AS r ON r.series_id = s.series_id
    WHERE s.flow = flow_name AND (step_name IS NULL OR s.step = step_name) AND s.dimensions @> dimension_filter
        AND r.origin <> 1
        AND r.window_start >= greatest(
            date_trunc('hour', to_time, 'UTC'),
            date_trunc('hour', from_time + interval '1 hour' - interval '1 microsecond', 'UTC')
        )
        AND r.window_start < to_time;
END;
COMMENT ON FUNCTION rollup_rows IS 'Rows to add up for a span, probes left out; step_name NULL takes all steps of the flow.';

CREATE FUNCTION window_rows(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, dimension_filter jsonb DEFAULT '{}'
) RETURNS TABLE (
    window_start timestamptz, series_id int, step text, dimensions jsonb, origin int2, answered int, sum_seconds float8,
    sum_log float8, sum_log_sq float8, min_seconds float8, max_seconds float8, good int, slow int, stale int,
    incomplete int, wrong int, abandoned int, timeout int, error int, buckets int2[], bucket_counts int[], checks int[]
) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT r.window_start, s.series_id, s.step, s.dimensions, r.origin, r.answered, r.sum_seconds,
        r.sum_log, r.sum_log_sq, r.min_seconds, r.max_seconds, r.good, r.slow, r.stale,
        r.incomplete, r.wrong, r.abandoned, r.timeout, r.error, r.buckets, r.bucket_counts, r.checks
    FROM series AS s JOIN window_rollups AS r ON r.series_id = s.series_id
    WHERE s.flow = flow_name AND (step_name IS NULL OR s.step = step_name) AND s.dimensions @> dimension_filter
        AND r.origin <> 1 AND r.window_start >= from_time AND r.window_start < to_time;
END;
COMMENT ON FUNCTION window_rows IS 'As rollup_rows, but windows only: for time series finer than an hour.';

CREATE FUNCTION quantiles(
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
COMMENT ON FUNCTION quantiles IS 'Quantiles of answered durations in seconds, within 1 % of percentile_cont on the observations.';

CREATE FUNCTION quantile(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, q float8,
    dimension_filter jsonb DEFAULT '{}'
) RETURNS float8 LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT found.seconds FROM quantiles(flow_name, step_name, from_time, to_time, ARRAY[q], dimension_filter) AS found;
END;

CREATE FUNCTION step_summary(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, dimension_filter jsonb DEFAULT '{}'
) RETURNS TABLE (
    observations int8, answered int8, good_answer_ratio float8, answered_ratio float8, mean_seconds float8,
    p50_seconds float8, p95_seconds float8, p99_seconds float8, good int8, slow int8, stale int8, incomplete int8,
    wrong int8, abandoned int8, timeout int8, error int8, simulated bool
) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH added AS (
        SELECT
            sum(r.good + r.slow + r.stale + r.incomplete + r.wrong + r.abandoned + r.timeout + r.error)::int8 AS observations,
            sum(r.answered)::int8 AS answered, sum(r.sum_seconds) AS sum_seconds,
            sum(r.good)::int8 AS good, sum(r.slow)::int8 AS slow, sum(r.stale)::int8 AS stale,
            sum(r.incomplete)::int8 AS incomplete, sum(r.wrong)::int8 AS wrong, sum(r.abandoned)::int8 AS abandoned,
            sum(r.timeout)::int8 AS timeout, sum(r.error)::int8 AS error, bool_or(r.origin = 2) AS simulated
        FROM rollup_rows(flow_name, step_name, from_time, to_time, dimension_filter) AS r
    ), found AS (
        SELECT array_agg(quantiles.seconds ORDER BY quantiles.q) AS seconds
        FROM quantiles(flow_name, step_name, from_time, to_time, ARRAY[0.5, 0.95, 0.99], dimension_filter)
    )
    SELECT
        coalesce(added.observations, 0), coalesce(added.answered, 0),
        added.good / nullif(added.observations, 0)::float8,
        1 - (added.abandoned + added.timeout + added.error) / nullif(added.observations, 0)::float8,
        added.sum_seconds / nullif(added.answered, 0), found.seconds[1], found.seconds[2], found.seconds[3],
        coalesce(added.good, 0), coalesce(added.slow, 0), coalesce(added.stale, 0), coalesce(added.incomplete, 0),
        coalesce(added.wrong, 0), coalesce(added.abandoned, 0), coalesce(added.timeout, 0), coalesce(added.error, 0),
        coalesce(added.simulated, false)
    FROM added, found;
END;

CREATE FUNCTION good_answer_ratio(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, dimension_filter jsonb DEFAULT '{}'
) RETURNS float8 LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT sum(r.good)
        / nullif(sum(r.good + r.slow + r.stale + r.incomplete + r.wrong + r.abandoned + r.timeout + r.error), 0)::float8
    FROM rollup_rows(flow_name, step_name, from_time, to_time, dimension_filter) AS r;
END;

-- Time series: "bucket" is their resolution. From an hour on, and if it is made of whole hours, hour rollups serve.
CREATE FUNCTION timeseries_rows(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, bucket interval,
    dimension_filter jsonb DEFAULT '{}'
) RETURNS TABLE (
    "time" timestamptz, step text, dimensions jsonb, origin int2, answered int, sum_seconds float8, good int, slow int,
    stale int, incomplete int, wrong int, abandoned int, timeout int, error int, buckets int2[], bucket_counts int[],
    checks int[]
) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT date_bin(bucket, r.window_start, 'epoch'), r.step, r.dimensions, r.origin, r.answered, r.sum_seconds, r.good,
        r.slow, r.stale, r.incomplete, r.wrong, r.abandoned, r.timeout, r.error, r.buckets, r.bucket_counts, r.checks
    FROM rollup_rows(flow_name, step_name, from_time, to_time, dimension_filter) AS r
    WHERE mod(extract(epoch FROM bucket), 3600) = 0
    UNION ALL
    SELECT date_bin(bucket, r.window_start, 'epoch'), r.step, r.dimensions, r.origin, r.answered, r.sum_seconds, r.good,
        r.slow, r.stale, r.incomplete, r.wrong, r.abandoned, r.timeout, r.error, r.buckets, r.bucket_counts, r.checks
    FROM window_rows(flow_name, step_name, from_time, to_time, dimension_filter) AS r
    WHERE mod(extract(epoch FROM bucket), 3600) <> 0;
END;

CREATE FUNCTION step_timeseries(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, bucket interval,
    dimension_filter jsonb DEFAULT '{}'
) RETURNS TABLE (
    "time" timestamptz, observations int8, answered int8, good_answer_ratio float8, answered_ratio float8,
    mean_seconds float8, good int8, slow int8, stale int8, incomplete int8, wrong int8, abandoned int8, timeout int8,
    error int8, simulated bool
) LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        a."time", a.observations, a.answered, a.good / nullif(a.observations, 0)::float8,
        1 - (a.abandoned + a.timeout + a.error) / nullif(a.observations, 0)::float8,
        a.sum_seconds / nullif(a.answered, 0), a.good, a.slow, a.stale, a.incomplete, a.wrong, a.abandoned, a.timeout,
        a.error, a.simulated
    FROM (
        SELECT
            r."time",
            sum(r.good + r.slow + r.stale + r.incomplete + r.wrong + r.abandoned + r.timeout + r.error)::int8 AS observations,
            sum(r.answered)::int8 AS answered, sum(r.sum_seconds) AS sum_seconds,
            sum(r.good)::int8 AS good, sum(r.slow)::int8 AS slow, sum(r.stale)::int8 AS stale,
            sum(r.incomplete)::int8 AS incomplete, sum(r.wrong)::int8 AS wrong, sum(r.abandoned)::int8 AS abandoned,
            sum(r.timeout)::int8 AS timeout, sum(r.error)::int8 AS error, bool_or(r.origin = 2) AS simulated
        FROM timeseries_rows(flow_name, step_name, from_time, to_time, bucket, dimension_filter) AS r
        GROUP BY r."time"
    ) AS a
    ORDER BY a."time";
END;

CREATE FUNCTION quantile_timeseries(
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

CREATE FUNCTION check_timeseries(
    flow_name text, step_name text, from_time timestamptz, to_time timestamptz, bucket interval,
    dimension_filter jsonb DEFAULT '{}'
) RETURNS TABLE ("time" timestamptz, step text, check_name text, passed int8, failed int8, unknown int8, failed_ratio float8)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT a."time", a.step, a.name, a.passed, a.failed, a.unknown, a.failed / nullif(a.passed + a.failed, 0)::float8
    FROM (
        SELECT
            r."time", r.step, c.name, sum(r.checks[3 * c.position + 1])::int8 AS passed,
            sum(r.checks[3 * c.position + 2])::int8 AS failed, sum(r.checks[3 * c.position + 3])::int8 AS unknown
        FROM timeseries_rows(flow_name, step_name, from_time, to_time, bucket, dimension_filter) AS r
            JOIN checks AS c ON c.flow = flow_name AND c.step = r.step
        WHERE r.checks[3 * c.position + 1] IS NOT NULL
        GROUP BY r."time", r.step, c.name
    ) AS a
    ORDER BY a."time", a.step, a.name;
END;

CREATE FUNCTION distribution(
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

CREATE FUNCTION dimension_summary(
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

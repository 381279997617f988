-- Scheduled reports: each period's report is made once, delivered, and kept.

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
    headline        text
);
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

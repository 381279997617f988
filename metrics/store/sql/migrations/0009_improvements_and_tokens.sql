-- The improvement ledger in tables of its own, tokens of programs that read the pages, reports that people ask for.

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

INSERT INTO improvements (improvement_id, flow, step, measure, action, owner, due, finding, planned_at, done_at)
SELECT
    details ->> 'id', flow, step, coalesce(details ->> 'measure', 'p95'), title, coalesce(details ->> 'owner', ''),
    nullif(details ->> 'due', '')::date, coalesce(details ->> 'finding', ''), at, ended_at
FROM events WHERE kind = 'improvement' AND details ->> 'id' IS NOT NULL AND flow IS NOT NULL AND step IS NOT NULL
ON CONFLICT DO NOTHING;
DELETE FROM events WHERE kind = 'improvement' AND ended_at IS NULL;
-- What has taken effect stays an event, of the time since when it is in effect.
UPDATE events SET at = ended_at, identity = 'improvement-' || (details ->> 'id'), details = '{}' WHERE kind = 'improvement';

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

ALTER TABLE report_runs ADD COLUMN asked_by text;
ALTER TABLE report_runs ADD COLUMN asked jsonb NOT NULL DEFAULT '{}';
ALTER TABLE report_runs ADD COLUMN dimensions jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN report_runs.asked_by IS 'Who had it made on a page; null when a schedule did.';
COMMENT ON COLUMN report_runs.asked IS 'What was asked for: comparison, formats, language.';
COMMENT ON COLUMN report_runs.dimensions IS 'Of which customers it speaks, {"branch": ["north"]}; {}: all.';
CREATE INDEX report_runs_asked ON report_runs (due_at) WHERE asked_by IS NOT NULL;

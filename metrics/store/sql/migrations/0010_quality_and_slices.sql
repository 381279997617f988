-- What came late, twice or not at all, by hour; and the way of flow instances in slices finer than an hour.

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

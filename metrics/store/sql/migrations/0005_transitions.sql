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

-- What is usual, for dashboards: they can show a band without understanding a profile.

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

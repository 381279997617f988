-- What learning needs of windows, a hundredth of their size: written when their hour is over, kept longer than they.

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

-- Stores with a past: its digests are made bit by bit.
INSERT INTO digest_hours (hour)
SELECT DISTINCT window_start FROM hour_rollups WHERE window_start >= now() - interval '90 days';

-- What notifiers must remember over a restart: when they called (rate limits), and what Alertmanager has been told.

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

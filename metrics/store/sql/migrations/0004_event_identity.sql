-- Events that are sent twice are one event; what was put into service has a version.

ALTER TABLE events ADD COLUMN version text, ADD COLUMN identity text;
COMMENT ON COLUMN events.identity IS 'Chosen by the sender, unique in its flow: sending it again changes the event.';
CREATE UNIQUE INDEX events_identity ON events (coalesce(flow, ''), identity);

-- name: create_table
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    int PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL DEFAULT current_user
)

-- name: record
INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)

-- name: compress_observations
ALTER TABLE observations SET (timescaledb.compress, timescaledb.compress_segmentby = 'series_id', timescaledb.compress_orderby = 'observed_at')

-- name: compression_policy
SELECT add_compression_policy('observations', INTERVAL '3 days', if_not_exists => true)

-- name: facts
SELECT
    current_setting('server_version_num')::int,
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
    current_setting('timescaledb.license', true),
    EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')

-- name: set
SELECT set_config(%s, %s, false)

-- name: set_search_path
-- Our schema first; the extension may live anywhere, even in our schema when the user has its name.
SELECT set_config('search_path', concat_ws(', ', quote_ident(%(schema)s), 'public', (
    SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace
    WHERE extname = 'timescaledb' AND nspname NOT IN ('public', %(schema)s)
)), false)

-- name: is_hypertable
SELECT EXISTS (
    SELECT FROM timescaledb_information.hypertables WHERE hypertable_schema = %(schema)s AND hypertable_name = %(table)s
)

-- name: make_hypertable
SELECT create_hypertable(
    %(table)s::regclass, %(column)s, chunk_time_interval => %(chunk)s::interval, create_default_indexes => false,
    migrate_data => true
)

-- name: drop_chunks
SELECT drop_chunks(%(table)s::regclass, older_than => to_timestamp(%(before)s))

-- name: lock
SELECT pg_advisory_lock(hashtextextended(%s, 0))

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended(%s, 0))

-- name: lock_transaction
SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))

-- name: try_lock_transaction
SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))

-- name: role_exists
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)

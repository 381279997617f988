#!/bin/sh
# Runs once, when the database is made: the log-in that Grafana has. It may read rollups, alerts and events, and nothing else:
# cxgauge grants the role cxgauge_reader that and no more, see docs/reference/storage.md.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --no-psqlrc --quiet \
  --set password="$(cat "${READER_PASSWORD_FILE:-/run/secrets/grafana_database_password}")" <<'SQL'
CREATE ROLE cxgauge_reader NOLOGIN;
CREATE ROLE grafana LOGIN PASSWORD :'password' IN ROLE cxgauge_reader;
SQL

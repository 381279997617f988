# ruff: noqa: E501 - queries read better on one line
"""Migrations: schema.sql and the migrations make the same database; changed files and newer databases are refused."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cxgauge.metrics.store.connection import DatabaseSettings, Tier, open_connection, server_facts
from cxgauge.metrics.store.migrations import READER_ROLE, Migration, MigrationError, migrate, migrations, plan
from cxgauge.metrics.store.named_queries import sql_file

DESCRIPTION = """
SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
    pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum), a.attnum::text
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = %(schema)s::text::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'relation', relname, relkind::text, array_to_string(reloptions, ','), NULL, NULL, NULL, obj_description(oid), NULL
FROM pg_class WHERE relnamespace = %(schema)s::text::regnamespace
UNION ALL
SELECT 'index', indexname, indexdef, NULL, NULL, NULL, NULL, NULL, NULL FROM pg_indexes WHERE schemaname = %(schema)s::text
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), NULL, NULL, NULL, NULL, NULL
FROM pg_constraint WHERE connamespace = %(schema)s::text::regnamespace
UNION ALL
SELECT 'routine', p.oid::regprocedure::text, CASE prokind WHEN 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END,
    NULL, NULL, NULL, NULL, obj_description(p.oid), NULL
FROM pg_proc p WHERE pronamespace = %(schema)s::text::regnamespace
UNION ALL
SELECT 'view', viewname, definition, NULL, NULL, NULL, NULL, NULL, NULL FROM pg_views WHERE schemaname = %(schema)s::text
"""


def describe(settings: DatabaseSettings) -> set[tuple[Any, ...]]:
    with open_connection(settings) as connection:
        rows = connection.execute(DESCRIPTION, {"schema": settings.schema}).fetchall()
    return {row for row in rows if not any("schema_migrations" in str(value) for value in row)}


@pytest.fixture
def settings(database_dsn: str) -> DatabaseSettings:
    return DatabaseSettings(database_dsn)


def test_the_whole_schema_equals_the_migrations(embedded_dsn: str) -> None:
    settings = DatabaseSettings(embedded_dsn)
    migrate(settings)
    by_migrations = describe(settings)
    with open_connection(settings) as connection, connection.transaction():
        connection.execute("DROP SCHEMA cxgauge CASCADE; CREATE SCHEMA cxgauge")
        connection.execute(sql_file("schema.sql").encode())
    assert len(by_migrations) > 200
    assert describe(settings) ^ by_migrations == set()


def test_migrating_twice_changes_nothing(settings: DatabaseSettings) -> None:
    assert plan(settings).version == 0
    assert plan(settings).pending == migrations()
    done, remarks = migrate(settings)
    assert done.pending == migrations()
    assert remarks == []
    before = describe(settings)
    again, _ = migrate(settings)
    assert again.pending == ()
    assert describe(settings) == before
    assert plan(settings).version == len(migrations())


def test_programs_that_migrate_at_the_same_time_take_turns(settings: DatabaseSettings) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = [future.result()[0] for future in [pool.submit(migrate, settings) for _ in range(4)]]
    assert sorted(len(result.pending) for result in results) == [0, 0, 0, len(migrations())]


def test_a_changed_migration_is_refused(settings: DatabaseSettings) -> None:
    first = Migration(1, "0001_first.sql", "CREATE TABLE a (n int)")
    migrate_only(settings, [first])
    changed = Migration(1, "0001_first.sql", "CREATE TABLE a (n bigint)")
    for function in (plan, migrate):
        with pytest.raises(MigrationError) as refused:
            function(settings, [changed])
        assert str(refused.value) == (
            f"0001_first.sql was changed after it was applied to schema 'cxgauge' (SHA-256 {changed.checksum[:12]}…, "
            f"applied was {first.checksum[:12]}…); restore the file and put the change into a migration of its own"
        )


def test_a_newer_database_is_refused(settings: DatabaseSettings) -> None:
    migrate_only(
        settings, [Migration(1, "0001_first.sql", ""), Migration(2, "0002_later.sql", "CREATE TABLE b (n int)")]
    )
    with pytest.raises(MigrationError) as refused:
        plan(settings, [Migration(1, "0001_first.sql", "")])
    assert str(refused.value) == (
        "schema 'cxgauge' has migration 0002_later.sql, which this version of cxgauge does not know; install the newer "
        "cxgauge that made it"
    )


def test_a_failing_migration_is_rolled_back_and_those_before_it_stay(settings: DatabaseSettings) -> None:
    known = [
        Migration(1, "0001_first.sql", "CREATE TABLE a (n int)"),
        Migration(2, "0002_bad.sql", "CREATE TABLE b (n int); SELECT 1 / 0"),
    ]
    with pytest.raises(MigrationError) as failed:
        migrate(settings, known)
    assert str(failed.value) == "0002_bad.sql failed and was rolled back: division by zero"
    with open_connection(settings) as connection:
        row = connection.execute("SELECT to_regclass('a') IS NOT NULL, to_regclass('b') IS NOT NULL").fetchone()
    assert row == (True, False)
    assert plan(settings, known).version == 1


def test_the_reader_sees_rollups_and_neither_observations_nor_audit(settings: DatabaseSettings) -> None:
    migrate(settings)
    with open_connection(settings) as connection:
        connection.execute(f"SET ROLE {READER_ROLE}")
        connection.execute("SELECT * FROM cxgauge.step_summary('f', 's', now() - interval '1 day', now())")
        connection.execute(
            "SELECT * FROM cxgauge.quantile_timeseries('f', 's', now() - interval '1 day', now(), '1 hour')"
        )
        connection.execute("SELECT * FROM cxgauge.events, cxgauge.alerts, cxgauge.deviations")
        for table in ("observations", "audit", "resume_points"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM cxgauge.{table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM cxgauge.window_rollups")


def test_what_an_unprivileged_user_cannot_make_is_explained(private_postgres_server: str) -> None:
    with psycopg.connect(private_postgres_server, autocommit=True) as admin:
        assert not role_exists(admin, READER_ROLE)
        admin.execute("CREATE ROLE cxgauge_test_plain LOGIN")
        admin.execute(
            "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO cxgauge_test_plain', current_database()); END $$"
        )
        settings = DatabaseSettings(make_conninfo(private_postgres_server, user="cxgauge_test_plain"))
        _, remarks = migrate(settings)
        explained = (
            "role cxgauge_reader for dashboards was not made, because the database user may not; let an administrator run "
            "CREATE ROLE cxgauge_reader NOLOGIN, then cxgauge migrate again"
        )
        assert remarks == [explained]
        admin.execute(f"CREATE ROLE {READER_ROLE} NOLOGIN")
        assert migrate(settings)[1] == []


def test_timescaledb_that_is_offered_but_not_used_is_pointed_out(timescaledb_dsn: str) -> None:
    with psycopg.connect(timescaledb_dsn, autocommit=True) as admin:
        admin.execute("DROP EXTENSION timescaledb")
    settings = DatabaseSettings(timescaledb_dsn)
    _, remarks = migrate(settings)
    pointed_out = (
        "the server offers TimescaleDB but this database does not use it: run CREATE EXTENSION timescaledb as superuser, "
        "then cxgauge migrate"
    )
    assert remarks == [pointed_out]
    with open_connection(settings) as connection:
        connection.execute("INSERT INTO cxgauge.series (flow, step) VALUES ('f', 's')")
        connection.execute("INSERT INTO cxgauge.observations VALUES (now(), 1, 0, NULL, 1, 0, 0)")
        assert server_facts(connection).tier is Tier.PLAIN
    with psycopg.connect(timescaledb_dsn, autocommit=True) as admin:
        admin.execute("CREATE EXTENSION timescaledb")
    assert migrate(settings)[1] == []
    with open_connection(settings) as connection:
        assert server_facts(connection).tier is Tier.TIMESCALEDB_APACHE
        tables = connection.execute("SELECT count(*) FROM timescaledb_information.hypertables").fetchone()
        assert tables == (2,)
        assert connection.execute("SELECT count(*) FROM observations").fetchone() == (1,)


def migrate_only(settings: DatabaseSettings, known: list[Migration]) -> None:
    """Apply migrations of a test, which lack the tables that come after them."""
    with pytest.raises(psycopg.Error):
        migrate(settings, known)


def role_exists(connection: Any, name: str) -> bool:
    row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    return row is not None

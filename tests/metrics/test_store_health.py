"""What the doctor says of a database, on real servers."""

import time
from typing import Any

import psycopg
import pytest

from cxgauge.metrics.observation import SeriesKey
from cxgauge.metrics.store.connection import DatabaseSettings
from cxgauge.metrics.store.health import Finding, Health, examine_store, readable_bytes
from cxgauge.metrics.store.migrations import migrate, migrations
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_database_without_fault(database_dsn: str) -> None:
    settings = DatabaseSettings(database_dsn)
    migrate(settings)
    findings = examine_store(settings)
    assert {finding.name: finding.health for finding in findings} == dict.fromkeys(
        (
            "database",
            "durability",
            "clock",
            "schema",
            "dashboards",
            "size",
            "written",
            "housekeeping",
            "dimensions",
        ),
        Health.OK,
    )
    assert all(finding.remedy == "" for finding in findings)
    assert by_name(findings)["written"].detail == "no observation yet"


def test_a_schema_that_is_behind_is_a_failure(embedded_dsn: str) -> None:
    finding = by_name(examine_store(DatabaseSettings(embedded_dsn)))["schema"]
    names = ", ".join(migration.name for migration in migrations())
    assert finding == Finding(
        "schema", Health.FAIL, f"version 0 of {len(migrations())}; pending: {names}", "run cxgauge migrate"
    )


def test_a_schema_of_a_newer_version_is_a_failure(embedded_dsn: str) -> None:
    settings = DatabaseSettings(embedded_dsn)
    migrate(settings)
    with psycopg.connect(embedded_dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO cxgauge.schema_migrations VALUES (9999, '9999_later.sql', 'x')")
    assert by_name(examine_store(settings))["schema"] == Finding(
        "schema",
        Health.FAIL,
        "schema 'cxgauge' has migration 9999_later.sql, which this version of cxgauge does not know",
        "install the newer cxgauge that made it",
    )


def test_a_database_that_is_not_there() -> None:
    findings = examine_store(DatabaseSettings("host=127.0.0.1 port=1 connect_timeout=2"))
    assert [(finding.name, finding.health) for finding in findings] == [("database", Health.FAIL)]
    assert findings[0].detail.startswith("cannot be reached: ")
    assert findings[0].remedy == "start it, or correct database.dsn in the configuration"


@pytest.mark.parametrize(("skew", "health"), [(0.0, Health.OK), (-30.0, Health.WARN), (7200.0, Health.FAIL)])
def test_clocks_that_differ(embedded_dsn: str, skew: float, health: Health) -> None:
    findings = examine_store(DatabaseSettings(embedded_dsn), clock=lambda: time.time() - skew)
    finding = by_name(findings)["clock"]
    assert finding.health is health
    found = float(finding.detail.removeprefix("the database's clock is ").split(" s ")[0])
    assert found == pytest.approx(skew, abs=1.0)


def test_a_database_that_a_power_cut_can_destroy(embedded_dsn: str) -> None:
    with psycopg.connect(embedded_dsn, autocommit=True) as connection:
        connection.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$"
        )
    assert by_name(examine_store(DatabaseSettings(embedded_dsn)))["durability"] == Finding(
        "durability",
        Health.WARN,
        "fsync on, synchronous_commit off, full_page_writes on",
        "turn it on: a power cut loses what was just committed",
    )


def test_rollups_that_nobody_tidies_and_capped_dimensions_are_pointed_out(make_store: Any, make_batch: Any) -> None:
    store: Store = make_store(series_per_step_limit=2, clock=time.time)
    keys = [SeriesKey("transfer", "confirm", (("branch", f"b{n}"),)) for n in range(5)]
    batch = make_batch(100, series=keys)
    store.write([batch], "a", StoredPosition(), StoredPosition(1, 1))
    findings = by_name(examine_store(store.settings.database))
    assert findings["written"].detail == "100 observations, the last 0 s ago"
    assert findings["housekeeping"].health is Health.WARN
    assert "rollup rows, the oldest" in findings["housekeeping"].detail
    assert findings["dimensions"].detail == "values beyond the cap are counted as 'other' in transfer/confirm"
    store.compact()
    assert by_name(examine_store(store.settings.database))["housekeeping"].health is Health.OK


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1536, "1.5 kB"), (250e6, "250 MB"), (3.2e9, "3.2 GB"), (7e12, "7.0 TB")],
)
def test_bytes_for_people(size: float, text: str) -> None:
    assert readable_bytes(size) == text

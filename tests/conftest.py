"""Fixtures for real servers, fresh databases and a clock that tests move.

What `make services` starts is found in `.services/services.json`, or in the file that
CXGAUGE_SERVICES names. A test whose service is not there is skipped, and the last lines of the run
count such tests by service. With CXGAUGE_FORBID_SKIPS=1 every skip is a failure: a run that was
meant to be whole cannot pass by leaving things out.

Several processes may run the tests at once (pytest-xdist): each has an embedded server, template
databases and a range of ports of its own; databases on the shared TimescaleDB have random names.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

ROOT = Path(__file__).resolve().parent.parent
SERVICES_FILE = Path(os.environ.get("CXGAUGE_SERVICES", ROOT / ".services" / "services.json"))
SERVICES = ("timescaledb", "prometheus", "alertmanager", "chromium", "axe")
DATABASES = ("database_dsn", "migrated_dsn")
LACKING_PROPERTY = "lacking"
LACKING = "{} is not there; `make services` installs and starts it"
START_LIMIT_SECONDS = 30.0
TEMPLATE = "cxgauge_empty"

# A busy machine is no failure.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def _skips_forbidden() -> bool:
    return os.environ.get("CXGAUGE_FORBID_SKIPS", "") not in ("", "0")


# --- Which service a test needs, and what becomes of it without ------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with the services that its fixtures need, so that `-m "not chromium"` works.

    Lengthy tests go first: where several processes run tests, others run beside them, and none waits at the end.
    """
    items.sort(key=lambda item: item.get_closest_marker("lengthy") is None)
    for item in items:
        needed = set(getattr(item, "fixturenames", ())) & set(SERVICES)
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "timescaledb" in (callspec.params.get(name) for name in DATABASES):
            needed.add("timescaledb")
        if {"timescaledb_dsn", "migrated_timescaledb_dsn"} & set(getattr(item, "fixturenames", ())):
            needed.add("timescaledb")
        for name in sorted(needed):
            item.add_marker(name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    present = _read_services()
    for name in SERVICES:
        if item.get_closest_marker(name) is not None and name not in present:
            item.user_properties.append((LACKING_PROPERTY, name))  # goes with the report to the process that counts
            pytest.skip(LACKING.format(name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and _skips_forbidden() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipping is forbidden here (CXGAUGE_FORBID_SKIPS): {report.longrepr[2]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    if report.outcome == "skipped" and _skips_forbidden():
        report.outcome = "failed"
        report.longrepr = f"skipping is forbidden here (CXGAUGE_FORBID_SKIPS): {report.longrepr[2]}"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for kind in ("skipped", "failed", "error") for report in terminalreporter.stats.get(kind, ())]
    lacking = Counter(
        name for report in reports for key, name in getattr(report, "user_properties", ()) if key == LACKING_PROPERTY
    )
    if lacking:
        counts = ", ".join(f"{name} {lacking[name]}" for name in SERVICES if lacking[name])
        terminalreporter.write_line(f"not run for lack of a service (`make services`): {counts}", yellow=True)


def _read_services() -> dict[str, dict[str, str]]:
    try:
        services: dict[str, dict[str, str]] = json.loads(SERVICES_FILE.read_text())
    except FileNotFoundError:
        return {}
    return services


@pytest.fixture(scope="session")
def services() -> dict[str, dict[str, str]]:
    """What `make services` offers, by name; a service that is lacking has no entry."""
    return _read_services()


# --- A clock that tests move -----------------------------------------------------------------------


@dataclass(slots=True)
class FakeClock:
    """Seconds since 1970 UTC that move only when told to; call it to read it."""

    now: float = 1_767_225_600.0  # 2026-01-01T00:00:00Z
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Move on by ``seconds`` and return the new time."""
        self.now += seconds
        return self.now

    def sleep(self, seconds: float) -> None:
        """Stand in for ``time.sleep``: remember the request and move on."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    """A fake clock that starts at 2026-01-01T00:00:00Z."""
    return FakeClock()


# --- Databases -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The DSN of an embedded PostgreSQL that lives as long as the test run."""
    with _embedded_server() as dsn:
        yield dsn


@pytest.fixture
def private_postgres_server() -> Iterator[str]:
    """The DSN of an embedded PostgreSQL of one test, for what all databases of a server share, such as roles."""
    with _embedded_server() as dsn:
        yield dsn


@contextmanager
def _embedded_server() -> Iterator[str]:
    from cxgauge.metrics.store.embedded import EmbeddedPostgres

    # Not under pytest's own directory: as root the server's user must be able to pass through every
    # parent, and a socket's path must stay under 108 bytes.
    directory = Path(tempfile.mkdtemp(prefix="cxgauge-tests-", dir=_memory_disk()))
    directory.chmod(0o755)
    server = EmbeddedPostgres(directory / "data", settings={"max_wal_size": "256MB"})
    try:
        yield server.start()
    finally:
        server.remove()
        shutil.rmtree(directory, ignore_errors=True)


def _memory_disk() -> Path | None:
    """A file system in memory with room for a database, where syncing costs nothing; None without one."""
    place = Path("/dev/shm")
    try:
        return place if os.access(place, os.W_OK) and shutil.disk_usage(place).free > 2 << 30 else None
    except FileNotFoundError:
        return None


@contextmanager
def _fresh_database(server_dsn: str, template: str | None = None) -> Iterator[str]:
    """A database of its own, copied from a template (an empty one by default) and dropped afterwards."""
    name = f"cxgauge_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        if template is None:
            _ensure_template(admin, server_dsn)
        source = sql.Identifier(template or TEMPLATE)
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), source))
    try:
        yield make_conninfo(server_dsn, dbname=name)
    finally:
        with psycopg.connect(server_dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _ensure_template(admin: psycopg.Connection, server_dsn: str) -> None:
    """Make the template once a server; with TimescaleDB's extension where the server has it."""
    admin.execute("SELECT pg_advisory_lock(727001)")
    try:
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s AND NOT datallowconn", [TEMPLATE]).fetchone():
            return
        template = sql.Identifier(TEMPLATE)
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(template))
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(template))
        if admin.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone():
            with psycopg.connect(make_conninfo(server_dsn, dbname=TEMPLATE), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION timescaledb")
        _close_to_connections(admin, TEMPLATE)
    finally:
        admin.execute("SELECT pg_advisory_unlock(727001)")


def _close_to_connections(admin: psycopg.Connection, template: str) -> None:
    """TimescaleDB's background workers would sit in it, and a database that is in use cannot be copied."""
    admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(template)))
    admin.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [template])


@contextmanager
def _migrated_template(server_dsn: str) -> Iterator[str]:
    """The name of a database with today's schema, of this test run alone."""
    from cxgauge.metrics.store.connection import DatabaseSettings
    from cxgauge.metrics.store.migrations import migrate

    with _fresh_database(server_dsn) as dsn:
        migrate(DatabaseSettings(dsn))
        name = str(conninfo_to_dict(dsn)["dbname"])
        with psycopg.connect(server_dsn, autocommit=True) as admin:
            _close_to_connections(admin, name)
        yield name


@pytest.fixture
def embedded_dsn(postgres_server: str) -> Iterator[str]:
    """A fresh empty database on the embedded PostgreSQL."""
    with _fresh_database(postgres_server) as dsn:
        yield dsn


@pytest.fixture
def timescaledb_dsn(services: dict[str, dict[str, str]]) -> Iterator[str]:
    """A fresh database on the real TimescaleDB, with the extension and nothing else."""
    with _fresh_database(services["timescaledb"]["dsn"]) as dsn:
        yield dsn


@pytest.fixture(params=["embedded", "timescaledb"])
def database_dsn(request: pytest.FixtureRequest) -> str:
    """A fresh empty database, once on each kind of server."""
    dsn: str = request.getfixturevalue(f"{request.param}_dsn")
    return dsn


@pytest.fixture(scope="session")
def embedded_template(postgres_server: str) -> Iterator[str]:
    """The name of a database with the schema on the embedded PostgreSQL, to be copied."""
    with _migrated_template(postgres_server) as name:
        yield name


@pytest.fixture(scope="session")
def timescaledb_template(services: dict[str, dict[str, str]]) -> Iterator[str]:
    """The name of a database with the schema on the real TimescaleDB, to be copied."""
    with _migrated_template(services["timescaledb"]["dsn"]) as name:
        yield name


@pytest.fixture
def migrated_embedded_dsn(postgres_server: str, embedded_template: str) -> Iterator[str]:
    """A fresh database with the schema on the embedded PostgreSQL."""
    with _fresh_database(postgres_server, embedded_template) as dsn:
        yield dsn


@pytest.fixture
def migrated_timescaledb_dsn(services: dict[str, dict[str, str]], timescaledb_template: str) -> Iterator[str]:
    """A fresh database with the schema on the real TimescaleDB; its commits do not wait for the disk."""
    with _fresh_database(services["timescaledb"]["dsn"], timescaledb_template) as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        yield dsn


@pytest.fixture(params=["embedded", "timescaledb"])
def migrated_dsn(request: pytest.FixtureRequest) -> str:
    """A fresh database with the schema, once on each kind of server."""
    dsn: str = request.getfixturevalue(f"migrated_{request.param}_dsn")
    return dsn


# --- Prometheus, Alertmanager, Chromium ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    """A private server of one test: its URL, its directory, and its process to hurt."""

    url: str
    directory: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        """The JSON answer of ``path``."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def stop(self) -> None:
        """End the server and wait for it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


StartServer = Callable[..., Server]
Files = Mapping[str, str]


SparePort = Callable[[], int]


@pytest.fixture(scope="session")
def spare_port() -> SparePort:
    """Gives TCP ports of 127.0.0.1 that nobody listens on: ``spare_port()``.

    They lie below those that the system gives out by itself, in a range of this process's own, and none is given
    twice before all were: what is told to listen on one later finds it free.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 12_000 + worker % 10 * 2_000
    ports = cycle(random.sample(range(first, first + 2_000), 2_000))

    def spare() -> int:
        for port in islice(ports, 2_000):
            with socket.socket() as probe, suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
        pytest.fail(f"all ports from {first} to {first + 1_999} are taken")

    return spare


@pytest.fixture
def prometheus(services: dict[str, dict[str, str]], spare_port: SparePort, tmp_path: Path) -> Iterator[StartServer]:
    """Start a private Prometheus: ``prometheus(config, files={"a.yml": text}, port=None, flags=[])``.

    ``config`` is the text of ``prometheus.yml``; ``files`` are laid beside it, for ``rule_files``.
    """
    with ExitStack() as stack:

        def start(
            config: str, files: Files | None = None, port: int | None = None, flags: Sequence[str] = ()
        ) -> Server:
            directory = _lay_out(tmp_path, "prometheus", {"prometheus.yml": config, **(files or {})})
            port = port or spare_port()
            command = [
                services["prometheus"]["binary"],
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                *flags,
            ]
            return _start(stack, command, f"http://127.0.0.1:{port}", directory)

        yield start


@pytest.fixture
def alertmanager(services: dict[str, dict[str, str]], spare_port: SparePort, tmp_path: Path) -> Iterator[StartServer]:
    """Start a private Alertmanager: ``alertmanager(config, files={}, port=None, flags=[])``."""
    with ExitStack() as stack:

        def start(
            config: str, files: Files | None = None, port: int | None = None, flags: Sequence[str] = ()
        ) -> Server:
            directory = _lay_out(tmp_path, "alertmanager", {"alertmanager.yml": config, **(files or {})})
            port = port or spare_port()
            command = [
                services["alertmanager"]["binary"],
                f"--config.file={directory / 'alertmanager.yml'}",
                f"--storage.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
                *flags,
            ]
            return _start(stack, command, f"http://127.0.0.1:{port}", directory)

        yield start


def _lay_out(parent: Path, name: str, files: Files) -> Path:
    directory = parent / f"{name}-{uuid.uuid4().hex[:8]}"
    directory.mkdir()
    for file, text in files.items():
        (directory / file).write_text(text, encoding="utf-8")
    return directory


def _start(stack: ExitStack, command: list[str], url: str, directory: Path) -> Server:
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=directory)
    server = Server(url, directory, process)
    stack.callback(server.stop)
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"{command[0]} was not ready at {url} within {START_LIMIT_SECONDS:g} s:\n{log.read_text()[-2000:]}")


@pytest.fixture
def chromium(services: dict[str, dict[str, str]]) -> Iterator[Any]:
    """A playwright browser of one test: ``page = chromium.new_page()``.

    Not shared between tests: while playwright's synchronous side is up, its event loop counts as
    running, and ``asyncio.run`` in any other test of the thread would fail.
    """
    from playwright.sync_api import sync_playwright

    quiet = ("background-networking", "component-update", "sync", "gpu", "quic")
    flags = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=services["chromium"]["binary"], args=flags)
        yield browser
        browser.close()


@pytest.fixture
def axe(services: dict[str, dict[str, str]]) -> str:
    """The accessibility checker's script, to be run in a page."""
    return Path(services["axe"]["binary"]).read_text(encoding="utf-8")

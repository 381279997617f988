"""Fixtures for real servers, fresh databases and a clock that tests move.

What `make services` starts is found in `.services/services.json`, or in the file that
CXGAUGE_SERVICES names. A test whose service is not there is skipped, and the last lines of the run
count such tests by service. With CXGAUGE_FORBID_SKIPS=1 every skip is a failure: a run that was
meant to be whole cannot pass by leaving things out.
"""

from __future__ import annotations

import json
import os
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import make_conninfo

ROOT = Path(__file__).resolve().parent.parent
SERVICES_FILE = Path(os.environ.get("CXGAUGE_SERVICES", ROOT / ".services" / "services.json"))
SERVICES = ("timescaledb", "prometheus", "alertmanager", "chromium", "axe")
LACKING = "{} is not there; `make services` installs and starts it"
START_LIMIT_SECONDS = 30.0
TEMPLATE = "cxgauge_empty"

# A busy machine is no failure.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
_skipped_for: Counter[str] = Counter()


def _skips_forbidden() -> bool:
    return os.environ.get("CXGAUGE_FORBID_SKIPS", "") not in ("", "0")


# --- Which service a test needs, and what becomes of it without ------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with the services that its fixtures need, so that `-m "not chromium"` works."""
    for item in items:
        needed = set(getattr(item, "fixturenames", ())) & set(SERVICES)
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("database_dsn") == "timescaledb":
            needed.add("timescaledb")
        if "timescaledb_dsn" in getattr(item, "fixturenames", ()):
            needed.add("timescaledb")
        for name in sorted(needed):
            item.add_marker(name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    present = _read_services()
    for name in SERVICES:
        if item.get_closest_marker(name) is not None and name not in present:
            _skipped_for[name] += 1
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
    if _skipped_for:
        counts = ", ".join(f"{name} {_skipped_for[name]}" for name in SERVICES if _skipped_for[name])
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
    # Not under pytest's own directory: as root the server's user must be able to pass through every
    # parent, and a socket's path must stay under 108 bytes.
    directory = Path(tempfile.mkdtemp(prefix="cxgauge-tests-"))
    directory.chmod(0o755)
    try:
        with ExitStack() as stack:
            yield stack.enter_context(_embedded_server(directory / "data"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _embedded_server(directory: Path) -> Iterator[str]:
    from cxgauge.metrics.store.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(directory)
    try:
        yield server.start()
    finally:
        server.remove()


@contextmanager
def _fresh_database(server_dsn: str) -> Iterator[str]:
    """An empty database of its own, copied from an empty template and dropped afterwards."""
    name = f"cxgauge_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        _ensure_template(admin, server_dsn)
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    try:
        yield make_conninfo(server_dsn, dbname=name)
    finally:
        with psycopg.connect(server_dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _ensure_template(admin: psycopg.Connection, server_dsn: str) -> None:
    """Make the template once a server; with TimescaleDB's extension where the server has it.

    It allows no connections: TimescaleDB's background workers would otherwise sit in it, and a
    database that is in use cannot be copied.
    """
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
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(template))
        admin.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [TEMPLATE])
    finally:
        admin.execute("SELECT pg_advisory_unlock(727001)")


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


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def prometheus(services: dict[str, dict[str, str]], tmp_path: Path) -> Iterator[StartServer]:
    """Start a private Prometheus: ``prometheus(config, files={"a.yml": text}, port=None, flags=[])``.

    ``config`` is the text of ``prometheus.yml``; ``files`` are laid beside it, for ``rule_files``.
    """
    with ExitStack() as stack:

        def start(
            config: str, files: Files | None = None, port: int | None = None, flags: Sequence[str] = ()
        ) -> Server:
            directory = _lay_out(tmp_path, "prometheus", {"prometheus.yml": config, **(files or {})})
            port = port or free_port()
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
def alertmanager(services: dict[str, dict[str, str]], tmp_path: Path) -> Iterator[StartServer]:
    """Start a private Alertmanager: ``alertmanager(config, files={}, port=None, flags=[])``."""
    with ExitStack() as stack:

        def start(
            config: str, files: Files | None = None, port: int | None = None, flags: Sequence[str] = ()
        ) -> Server:
            directory = _lay_out(tmp_path, "alertmanager", {"alertmanager.yml": config, **(files or {})})
            port = port or free_port()
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

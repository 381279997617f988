"""A served site where people sign in, with a clock that tests move."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import pytest
from argon2 import PasswordHasher

from cxgauge.alerts.alert import Alert
from cxgauge.alerts.records import save_lifecycle
from cxgauge.dashboards.access.passwords import Passwords
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.server import HttpServer
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.accounts import add_account
from cxgauge.metrics.store.scope import EVERYTHING, DataScope
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

START, DAY = 1_773_417_600.0, 86_400.0
PASSWORD = "correct horse battery"
HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)  # quick, and good enough here
HASH = HASHER.hash(PASSWORD)
SIGN_IN = "timezone: Asia/Shanghai\nsign_in: {accounts: true}\n"


class Lifecycle:
    """As much of a lifecycle as saving asks for."""

    def __init__(self, alert: Alert) -> None:
        self.alerts = {alert.id: alert}


@dataclass
class Site:
    """A served application, and what the test may change about it."""

    store: Store
    url: str
    directory: Path
    config: Config
    flows: dict[str, FlowSpec]
    now: float = START + DAY - 1
    stack: ExitStack = field(default_factory=ExitStack)
    entry: str = ""

    def configure(self, text: str) -> None:
        self.config = Config.parse(text, "cxgauge.yml", self.directory)

    def visitor(self, **headers: str) -> httpx.Client:
        """A browser of its own."""
        client = httpx.Client(base_url=self.url, trust_env=False, timeout=30, headers={"accept": "text/html"} | headers)
        return self.stack.enter_context(client)

    def account(self, name: str, role: str = "viewer", scope: DataScope = EVERYTHING) -> None:
        with self.store.connection() as connection:
            assert add_account(connection, name, role, scope, at=self.now, password=HASH)

    def signed_in(self, name: str, role: str = "viewer", scope: DataScope = EVERYTHING) -> httpx.Client:
        """A browser in which somebody with this role and scope has signed in."""
        self.account(name, role, scope)
        client = self.visitor()
        assert sign_in(client, name).status_code == 303
        return client

    def audited(self) -> list[tuple[str, str, str, str]]:
        with self.store.connection() as connection:
            rows = connection.execute("SELECT actor, action, subject, address FROM audit ORDER BY audit_id").fetchall()
        return [(row[0], row[1], row[2], row[3]) for row in rows]


def token_of(page: str) -> str:
    """What the page's forms carry."""
    return re.findall(r'name="token" value="([^"]+)"', page)[0]


def sign_in(client: httpx.Client, name: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
    """Fill in the form."""
    token = token_of(client.get("/sign-in").text)
    return client.post("/sign-in", data={"token": token, "name": name, "password": password, **fields})


@pytest.fixture
def site(
    migrated_embedded_dsn: str, flow: FlowSpec, alert: Alert, make_day: Callable[..., ObservationBatch], tmp_path: Path
) -> Iterator[Site]:
    """A day of data and a firing alert; sign-in by name and password."""
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(migrated_embedded_dsn))
        store.migrate()
        store.write([make_day(START, seed=2)], "test", StoredPosition(), StoredPosition(0, 1))
        with store.connection() as connection:
            save_lifecycle(connection, {}, Lifecycle(alert), [])  # type: ignore[arg-type]
        config = Config.parse(SIGN_IN, "cxgauge.yml", tmp_path)
        found = Site(store, "", tmp_path, config, {flow.name: flow}, stack=stack)
        parts = HttpParts(
            store,
            lambda: found.config,
            lambda: found.flows,
            metrics=lambda _accept: (b"cxgauge_up 1\n", "text/plain"),
            clock=lambda: found.now,
            passwords=Passwords(HASHER),
        )
        server = HttpServer(application(parts), "127.0.0.1", 0)
        server.start()
        stack.callback(server.stop)
        found.url = server.url
        yield found

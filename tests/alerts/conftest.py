"""Builders shared by the tests of alerts."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from cxgauge.alerts.alert import Alert
from cxgauge.alerts.attribution import Attribution, Concentration, Contribution
from cxgauge.alerts.figures import Figures
from cxgauge.alerts.impact import Estimate, Impact
from cxgauge.alerts.lifecycle import Lifecycle, LifecycleSettings
from cxgauge.alerts.message import Event, Link, Message, compose
from cxgauge.alerts.titles import FlowTitles, Titles
from cxgauge.metrics.deviation import Deviation, DeviationKind, Scope
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.store.connection import DatabaseSettings
from cxgauge.metrics.store.store import Store, StoreSettings
from cxgauge.metrics.store.write import StoredPosition
from cxgauge.metrics.translation import Language
from cxgauge.metrics.verdict import Verdict

NOW = 1_767_235_500.0  # 2026-01-01T02:45:00Z, 10:45 in Shanghai
BEGAN = NOW - 180
GOLDEN = Path(__file__).with_name("golden")

MakeDeviation = Callable[..., Deviation]


def make_deviation(kind: str = "slower", step: str | None = "total", **changes: Any) -> Deviation:
    """A deviation of the flow ``bill_inquiry`` that began at 10:42 and was seen at 10:45."""
    began = changes.pop("began", BEGAN)
    scope = Scope(
        changes.pop("flow", "bill_inquiry"), step, tuple(changes.pop("dimensions", ())), changes.pop("check", None)
    )
    ratio = changes.pop("ratio", 1.19)
    values: dict[str, Any] = {
        "detected_at": began + 180,
        "started_at": began,
        "started_low": began - 120,
        "started_high": began + 120,
        "effect": math.log(ratio),
        "effect_low": math.log(ratio * 0.99),
        "effect_high": math.log(ratio * 1.01),
        "before": 1.0,
        "after": ratio,
        "observations": 3412,
        "observations_before": 41200,
        "evidence": {"statistic": 14.2, "threshold": 8.1},
    }
    return Deviation(DeviationKind(kind), scope, **{**values, **changes})


@pytest.fixture
def deviation() -> MakeDeviation:
    return make_deviation


STEPS = {"bill_inquiry": ("login", "total", "details"), "transfer": ("amount", "confirm")}


@pytest.fixture
def steps() -> dict[str, tuple[str, ...]]:
    return dict(STEPS)


@pytest.fixture
def titles() -> Titles:
    bill = FlowTitles(
        title={"en": "Bill inquiry", "zh": "账单查询"},
        steps={
            "total": {"en": "Total", "zh": "账单总额"},
            "details": {"en": "Details", "zh": "账单明细"},
        },
        checks={("details", "details_present"): {"en": "details are there", "zh": "明细齐全"}},
        owner="cards",
    )
    return Titles({"bill_inquiry": bill})


@pytest.fixture(params=["en", "zh"])
def figures(request: pytest.FixtureRequest) -> Figures:
    return Figures(request.param, ZoneInfo("Asia/Shanghai"))


@pytest.fixture
def attribution() -> Attribution:
    effect = (math.log(1.35), math.log(1.30), math.log(1.40))
    worst = Contribution((("app_version", "8.2.0"),), *effect, 0.81, 0.7, 0.92, 900)
    return Attribution(Concentration.SOME, 0.174, 0.15, 0.024, (worst,))


@pytest.fixture
def impact() -> Impact:
    more = Estimate(1048.2, 996.0, 1098.7), Estimate(1129.4, 1070.0, 1186.0)
    return Impact(1204, 3120, 1300, 3412, Estimate(31.0, 12.0, 50.0), *more)


@pytest.fixture
def fired(steps: dict[str, tuple[str, ...]]) -> Callable[..., Alert]:
    """The first alert that some deviations make, fired at once."""

    def fire(*deviations: Deviation, now: float = NOW) -> Alert:
        lifecycle = Lifecycle(LifecycleSettings(settle_seconds=0), steps)
        lifecycle.apply(deviations, now)
        return next(iter(lifecycle.alerts.values()))

    return fire


@pytest.fixture
def golden() -> Callable[[str, str | dict[str, Any]], None]:
    """Compare with a file in ``golden/``; CXGAUGE_UPDATE_GOLDEN=1 writes it anew, to be read before committing."""

    def compare(name: str, content: str | dict[str, Any]) -> None:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        path = GOLDEN / name
        if os.environ.get("CXGAUGE_UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; write it with CXGAUGE_UPDATE_GOLDEN=1 and read it"
        assert text == path.read_text(encoding="utf-8")

    return compare


@dataclass
class Request:
    """One request a local service saw."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Service:
    """A real HTTP server on loopback that keeps what it got and answers as told, in order; then 200 ``{}``."""

    url: str
    requests: list[Request] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    stall: bool = False

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        """Queue an answer; header names with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, named, json.dumps(body if body is not None else {}).encode()))


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            state.requests.append(
                Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            )
            if state.stall:
                state.stalled.wait(30)
            status, headers, answer = state.answers.pop(0) if state.answers else (200, {}, b"{}")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = Service(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    state.stalled.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def messages_by_language(
    deviation: MakeDeviation, fired: Callable[..., Alert], attribution: Attribution, impact: Impact, titles: Titles
) -> dict[str, Message]:
    """A firing message with everything in it, in each language."""
    alert = replace(fired(deviation(), deviation(step="details")), attribution=attribution, impact=impact)
    links = (Link("Report", "https://cx.example/flows/bill_inquiry"),)
    zone = ZoneInfo("Asia/Shanghai")
    languages: tuple[Language, ...] = ("en", "zh")
    return {each: compose(alert, Event.FIRING, titles, Figures(each, zone), NOW, links) for each in languages}


@pytest.fixture
def message(messages_by_language: dict[str, Message]) -> Message:
    """A firing message in English with a link."""
    return messages_by_language["en"]


# --- A store with a past, for tests of the evaluation ------------------------------------------------


def simulated_batch(
    start: float,
    end: float,
    rng: np.random.Generator,
    *,
    a_minute: int = 100,
    slow: float = 1.0,
    slow_version: float = 1.0,
    slow_details: float = 1.0,
    failing: float = 0.001,
    flow: str = "bill_inquiry",
) -> ObservationBatch:
    """Observations of two steps in two versions and two channels; ``slow`` is a factor on ``total``,
    ``slow_version`` on ``total`` in version 8.2.0, ``failing`` the share of ``details`` without details."""
    keys = [
        SeriesKey(flow, step, (("app_version", version), ("channel", channel)), ("details_present",))
        for step in ("total", "details")
        for version in ("8.1.0", "8.2.0")
        for channel in ("app", "web")
    ]
    size = int((end - start) / 60 * a_minute)
    records = np.zeros(size, dtype=RECORD)
    records["observed_at_us"] = np.sort(start + rng.random(size) * (end - start)) * 1e6
    records["series"] = rng.integers(0, len(keys), size)
    duration = np.exp(rng.normal(0.0, 0.4, size))
    total = records["series"] < 4
    duration[total] *= slow
    duration[~total] *= slow_details
    duration[total & (records["series"] % 4 >= 2)] *= slow_version
    records["duration_seconds"] = duration
    bad = (rng.random(size) < failing) & ~total
    records["verdict"] = np.where(bad, Verdict.INCOMPLETE, Verdict.GOOD)
    records["checks"] = np.where(bad, 2, 1)
    for name in ("customer", "flow_instance"):
        records[name] = rng.integers(1, 255, (size, 16), dtype=np.uint8).view("V16").ravel()
    return ObservationBatch(tuple(keys), records)


@dataclass
class Bank:
    """A store at the fake clock's time, written to as a collector would."""

    store: Store
    now: float
    rng: np.random.Generator
    point: StoredPosition = field(default_factory=StoredPosition)

    def write(self, minutes: float, **what: Any) -> None:
        """Let ``minutes`` pass and write what came in."""
        start, self.now = self.now, self.now + 60 * minutes
        point = StoredPosition(1, self.point.offset + 1)
        self.store.write([simulated_batch(start, self.now, self.rng, **what)], "gateway", self.point, point)
        self.point = point
        with self.store.connection() as connection:  # the writer's own clock is real time
            connection.execute("UPDATE resume_points SET updated_at = to_timestamp(%s)", [self.now])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.store.connection() as connection:
            return connection.execute(query).fetchall()


@contextmanager
def _bank(dsn: str, end: float = 1_767_225_600.0) -> Iterator[Bank]:
    start = end - 6 * 3600
    with Store(StoreSettings(DatabaseSettings(dsn, connections_limit=4))) as store:
        store.migrate()
        found = Bank(store, start, np.random.default_rng(1))
        found.write(360)
        yield found


@pytest.fixture
def bank(migrated_embedded_dsn: str) -> Iterator[Bank]:
    """A bank with six hours of past, up to 2026-01-01T00:00:00Z."""
    with _bank(migrated_embedded_dsn) as found:
        yield found


@pytest.fixture
def recent_bank(migrated_embedded_dsn: str) -> Iterator[Bank]:
    """A bank whose six hours of past end 55 minutes ago, for servers that live in real time."""
    with _bank(migrated_embedded_dsn, (time.time() - 55 * 60) // 60 * 60) as found:
        yield found


@pytest.fixture
def any_bank(migrated_dsn: str) -> Iterator[Bank]:
    """The same, once on each kind of server."""
    with _bank(migrated_dsn) as found:
        yield found

"""How long the pages take: the overview of 50 flows × 6 steps over 7 days, and the report of one of them.

Ten million observations as they lie a week later: rolled up by the hour, with a check a step, an open alert, counted
flow instances and counts of what was late. Prints milliseconds, medians of twenty and the worst of them, beside the
time the database alone takes for the overview's query; whole answers are asked for over HTTP, by somebody signed in.

Run:  python bench/pages.py            (starts an embedded PostgreSQL in a temporary folder)
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2
import numpy as np
from argon2 import PasswordHasher

from cxgauge.alerts.alert import Alert, AlertState, Member, Severity
from cxgauge.alerts.records import save_lifecycle
from cxgauge.dashboards.figure_types import Comparison, Period
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.overview import read_overview
from cxgauge.dashboards.periods import compared_period
from cxgauge.dashboards.report.report import Report, build_report
from cxgauge.dashboards.server import HttpServer
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.deviation import Deviation, DeviationKind, Scope
from cxgauge.metrics.observation import SeriesKey
from cxgauge.metrics.rollup import roll_up_columns
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.store.accounts import add_account
from cxgauge.metrics.store.embedded import EmbeddedPostgres
from cxgauge.metrics.store.named_queries import named_query
from cxgauge.metrics.store.rows import rollup_rows
from cxgauge.metrics.store.scope import EVERYTHING
from cxgauge.metrics.store.store import Store

FLOWS, STEPS, OBSERVATIONS = 50, 6, 10_000_000
DAYS, NOW = 14, 1_773_417_600
ROUNDS = 20
_FOLDER: list[str] = [""]
NAME, PASSWORD = "bench", "correct horse battery"
INSTANCES = """
    INSERT INTO instance_rollups SELECT hour, flow, step, 0, 100 - length(step), 7, 3
    FROM generate_series(to_timestamp(%(start)s), to_timestamp(%(end)s - 3600), interval '1 hour') AS hour,
        (SELECT flow, step FROM series UNION SELECT flow, '' FROM series) AS steps;
    INSERT INTO transition_rollups SELECT hour, a.flow, a.step, b.step, 0, 20
    FROM generate_series(to_timestamp(%(start)s), to_timestamp(%(end)s - 3600), interval '1 hour') AS hour,
        series AS a JOIN series AS b ON a.flow = b.flow AND abs(right(a.step, 1)::int - right(b.step, 1)::int) <= 1;
    INSERT INTO transition_hours SELECT hour, 1
    FROM generate_series(to_timestamp(%(start)s), to_timestamp(%(end)s - 3600), interval '1 hour') AS hour;
    INSERT INTO quality_rollups SELECT hour, flow, step, reason, 5
    FROM generate_series(to_timestamp(%(start)s), to_timestamp(%(end)s - 3600), interval '1 hour') AS hour, series,
        unnest(ARRAY['late', 'duplicate']) AS reason
    WHERE right(flow, 1) = '0'
"""
_SLOWER = Deviation(
    DeviationKind.SLOWER, Scope("flow_0", "step_0"), detected_at=NOW - 3_600, started_at=NOW - 7_200,
    started_low=NOW - 7_300, started_high=NOW - 7_100, effect=0.2, effect_low=0.1, effect_high=0.3, before=1.0,
    after=1.2, observations=500, observations_before=9_000,
)  # fmt: skip
ALERT = Alert(
    id="0123456789ab", state=AlertState.FIRING, severity=Severity.WARNING,
    members=(Member(_SLOWER, _SLOWER.detected_at, _SLOWER.effect),), opened_at=NOW - 3_600.0, updated_at=NOW - 3_600.0,
    fired_at=NOW - 3_600.0, told=True,
)  # fmt: skip


@dataclass
class _Lifecycle:
    """As much of a lifecycle as saving asks for."""

    alerts: dict[str, Alert]


def _flow(number: int) -> FlowSpec:
    check = "[{name: there, kind: present, value: $.total}]"
    steps = "\n".join(
        f"  - {{name: step_{step}, title: {{en: Step {step}, zh: 步骤{step}}}, timeliness: {{target: 2s}}, "
        f"checks: {check}}}"
        for step in range(STEPS)
    )
    return parse_flow(
        f"name: flow_{number}\ntitle: {{en: Flow {number}, zh: 旅程{number}}}\nowner: me\nsteps:\n{steps}\n"
    )


def _fill(store: Store, flows: dict[str, FlowSpec]) -> int:
    """Hours of two weeks; twice the observations of one week."""
    keys = tuple(SeriesKey(name, step.name, (), ("there",)) for name, flow in flows.items() for step in flow.steps)
    ids = store._catalog.resolve(keys).ids
    random = np.random.default_rng(1)
    written = 0
    for day in range(DAYS):
        size = OBSERVATIONS // 7
        durations = np.exp(random.normal(0, 0.4, size))
        at = (NOW - (DAYS - day) * 86_400 + random.random(size) * 86_400) * 1e6
        rollup = roll_up_columns(
            at.astype(np.int64),
            duration_seconds=durations,
            series=ids[random.integers(0, len(ids), size)],
            verdict=np.where(durations > 2, 1, 0),
            checks=np.ones(size, dtype=np.int64),
            origin=np.zeros(size, dtype=np.int64),
            window_seconds=3_600,
        )
        query = named_query("write.copy_hour_rollups")
        with store.connection() as connection, connection.cursor() as cursor, cursor.copy(query) as copy:
            copy.write(rollup_rows([rollup], rolled=None))
        written += len(rollup)
    with store.connection() as connection:
        span = {"start": NOW - DAYS * 86_400, "end": NOW}
        for query in INSTANCES.split(";"):
            connection.execute(query, span)
        save_lifecycle(connection, {}, _Lifecycle({ALERT.id: ALERT}), [])  # type: ignore[arg-type]
        assert add_account(connection, NAME, "viewer", EVERYTHING, at=NOW, password=PasswordHasher().hash(PASSWORD))
        connection.execute("ANALYZE")
    return written


def _server_seconds(folder: str) -> float:
    """Processor time of the database's processes so far, which a busy machine blurs less than the clock."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*/schedstat"):
        with contextlib.suppress(OSError):
            if str((path.parent / "cwd").readlink()).startswith(folder):
                total += int(path.read_text().split()[0]) / 1e9
    return total


def _milliseconds(action: Callable[[], object]) -> str:
    """Median and worst of the rounds; and processor time of one, ours and the database's."""
    action()
    times = []
    ours, theirs = time.process_time(), _server_seconds(_FOLDER[0])
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        action()
        times.append((time.perf_counter() - begun) * 1e3)
    spent = [(time.process_time() - ours) * 1e3 / ROUNDS, (_server_seconds(_FOLDER[0]) - theirs) * 1e3 / ROUNDS]
    processor = f"processor {spent[0]:5.1f} + {spent[1]:5.1f} ms"
    return f"{statistics.median(times):8.1f} ms   (worst {max(times):6.1f}; {processor})"


def main() -> None:
    """Fill a database and print the table."""
    flows = {flow.name: flow for flow in map(_flow, range(FLOWS))}
    with tempfile.TemporaryDirectory(prefix="cxgauge-bench-") as folder:
        Path(folder).chmod(0o755)
        _FOLDER[:] = [folder]
        server = EmbeddedPostgres(Path(folder, "postgres"))
        try:
            with Store.open(server.start()) as store:
                store.migrate()
                rows = _fill(store, flows)
                _measure(store, flows, rows)
        finally:
            server.remove()


def _measure(store: Store, flows: dict[str, FlowSpec], rows: int) -> None:
    period = Period(float(NOW - 7 * 86_400), float(NOW))
    wording = Wording("en", ZoneInfo("UTC"))
    compared = compared_period(period, "previous", wording.zone)
    parameters = {"start": period.start, "end": period.end, "span": 7_200}

    def query() -> None:
        with store.connection() as connection:
            connection.execute(named_query("report.overview_hours"), parameters).fetchall()

    flow = flows["flow_0"]
    load = f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {load}")
    print(f"{FLOWS} flows × {STEPS} steps, {OBSERVATIONS:,} observations a week, {rows:,} hourly rows in two weeks")
    for what, action in (
        ("overview of 7 days, its query alone", query),
        ("overview of 7 days, figures", lambda: read_overview(store, flows, period)),
        ("flow report, 7 days", lambda: _report(store, flow, period, None, wording)),
        ("flow report, 7 days against 7", lambda: _report(store, flow, period, compared, wording)),
    ):
        print(f"{what:<42}{_milliseconds(action)}")
    _answers(store, flows)


def _report(store: Store, flow: FlowSpec, period: Period, compared: Comparison | None, wording: Wording) -> Report:
    return build_report(store, flow, period, compared, wording, now=period.end, on_the_spot=False)


def _answers(store: Store, flows: dict[str, FlowSpec]) -> None:
    """Whole answers over HTTP, as a browser gets them."""
    config = Config.parse("sign_in: {accounts: true}", "cxgauge.yml", Path())
    parts = HttpParts(store, lambda: config, lambda: flows, clock=lambda: float(NOW))
    server = HttpServer(application(parts), "127.0.0.1", 0)
    server.start()
    try:
        with httpx2.Client(base_url=server.url, trust_env=False, timeout=60, headers={"accept": "text/html"}) as client:
            token = re.findall(r'name="token" value="([^"]+)"', client.get("/sign-in").text)[0]
            client.post("/sign-in", data={"token": token, "name": NAME, "password": PASSWORD})
            for what, path in (
                ("page: overview of 7 days", "/?span=7d"),
                ("page: its table as CSV", "/?span=7d&format=csv"),
                ("page: one flow, 7 days against 7", "/flows/flow_0?span=7d"),
                ("page: one step, 7 days against 7", "/flows/flow_0/steps/step_0?span=7d"),
                ("page: one alert", f"/alerts/{ALERT.id}"),
                ("page: search", "/search?q=step_3"),
                ("page: data quality, 7 days", "/data?span=7d"),
            ):
                size = len(client.get(path).raise_for_status().content)
                print(f"{what:<42}{_milliseconds(lambda path=path: client.get(path))}   {size / 1e3:,.0f} kB")  # type: ignore[misc]
    finally:
        server.stop()


if __name__ == "__main__":
    main()

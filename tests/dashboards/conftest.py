"""A small flow with two days of data, yesterday's and today's, and an alert about it."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from cxgauge.alerts.alert import Alert, AlertState, Member, Severity
from cxgauge.alerts.impact import Impact
from cxgauge.dashboards.figure_types import Comparison, Period
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.deviation import Deviation, DeviationKind, Scope
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source, check_bits
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.verdict import CheckResult, Verdict

FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: Cards | bills
dimensions:
  - {name: channel, values: [app, web]}
steps:
  - name: log_in
    title: {en: Log-in, zh: 登录}
    timeliness: {target: 2s, objective: 0.9}
  - name: bill_total
    title: {en: Bill total, zh: 账单总额}
    timeliness: {target: 2s, objective: 0.9}
    checks:
      - {name: details_present, kind: present, value: $.details, title: {en: details are there, zh: 有明细}}
"""
DAY = 86_400.0
START = 1_773_417_600.0  # 2026-03-14 00:00 in Shanghai
PER_DAY = 4_320
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture(scope="session")
def flow() -> FlowSpec:
    """Two steps, one check, one dimension."""
    return parse_flow(FLOW)


@pytest.fixture
def today() -> Period:
    """14 March 2026 in Shanghai."""
    return Period(START, START + DAY)


@pytest.fixture
def yesterday() -> Comparison:
    """The day before."""
    return Comparison("previous", Period(START - DAY, START), ("other_weekdays",))


@pytest.fixture
def english() -> Wording:
    """English, Shanghai time."""
    return Wording("en", SHANGHAI)


@pytest.fixture
def chinese() -> Wording:
    """Chinese, Shanghai time."""
    return Wording("zh", SHANGHAI)


MakeDay = Callable[..., ObservationBatch]


@pytest.fixture
def make_day() -> MakeDay:
    """``make_day(start, factor=1.0, failures=0.0, seed=1, source=…)``: a day; the factor slows the bill."""
    keys = tuple(
        SeriesKey("bill_inquiry", step, (("channel", channel),), checks)
        for step, checks in (("log_in", ()), ("bill_total", ("details_present",)))
        for channel in ("app", "web")
    )

    def make(
        start: float, *, factor: float = 1.0, failures: float = 0.0, seed: int = 1, source: Source = Source.RECORDER
    ) -> ObservationBatch:
        random = np.random.default_rng(seed)
        count = 2 * PER_DAY
        records = np.zeros(count, dtype=RECORD)
        records["observed_at_us"] = ((start + np.sort(random.random(count)) * DAY) * 1e6).astype(np.int64)
        records["series"] = random.integers(0, 4, count)
        bill = records["series"] >= 2
        records["duration_seconds"] = np.exp(random.normal(0, 0.4, count)) * np.where(bill, factor, 1)
        failed = bill & (random.random(count) < failures)
        results = np.where(failed, check_bits([CheckResult.FAIL]), check_bits([CheckResult.PASS]))
        records["checks"] = np.where(bill, results, 0)
        slow = np.where(records["duration_seconds"] > 2, Verdict.SLOW, Verdict.GOOD)
        records["verdict"] = np.where(failed, Verdict.INCOMPLETE, slow)
        records["source"] = int(source)
        return ObservationBatch(keys, records)

    return make


@pytest.fixture
def slower() -> Deviation:
    """The bill total got slower by 19 % at 10:42."""
    began = START + 10.7 * 3600
    return Deviation(
        DeviationKind.SLOWER,
        Scope("bill_inquiry", "bill_total"),
        detected_at=began + 420,
        started_at=began,
        started_low=began - 60,
        started_high=began + 120,
        effect=float(np.log(1.19)),
        effect_low=float(np.log(1.18)),
        effect_high=float(np.log(1.20)),
        before=1.0,
        after=1.19,
        observations=3_500,
        observations_before=40_000,
    )


@pytest.fixture
def alert(slower: Deviation) -> Alert:
    """A firing alert of that deviation."""
    return Alert(
        id="0123456789ab",
        state=AlertState.FIRING,
        severity=Severity.WARNING,
        members=(Member(slower, slower.detected_at, slower.effect),),
        opened_at=slower.detected_at,
        updated_at=slower.detected_at,
        fired_at=slower.detected_at,
        told=True,
        impact=Impact(3_412, 5_000, 3_450, 5_100),
    )

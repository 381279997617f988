"""Whether verdicts of comparisons keep their promise, on simulated periods whose truth is known.

Promised: of a flow in which nothing changed at most one report in twenty says that any figure did; and a step that
changed by exactly the margin of the flow is called the same at most once in twenty. Durations have noise that all
customers of a minute share (autocorrelated), levels that differ from day to day, and a traffic of the day's hours.

Run:  python bench/verdicts.py [--seeds 100]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxgauge.dashboards.figure_types import ChangeFigure, ChangeStatus, Comparison, Conclusion, FlowFigures, Period
from cxgauge.dashboards.figures import flow_figures
from cxgauge.metrics.observation import SeriesKey
from cxgauge.metrics.rollup import Rollup, roll_up_columns
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.verdict import Verdict

__all__ = ["CASES", "Case", "Outcome", "figures_of", "outcomes"]

DAY: Final = 86_400
START: Final = 100 * 7 * DAY
FLOW: Final[FlowSpec] = parse_flow(
    """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
dimensions: [{name: app_version}, {name: channel, values: [app, web]}]
steps: [{name: total, title: {en: Total, zh: 总额}, timeliness: {target: 2s, timeout: 60s}}]
"""
)
KEYS: Final = {
    2 * release + web: SeriesKey("bill", "total", (("app_version", f"8.{release + 1}.0"), ("channel", channel)))
    for release in (0, 1)
    for web, channel in enumerate(("app", "web"))
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is simulated.

    Attributes:
        name: What it is called in the table.
        days: Length of each period.
        a_day: Observations a day, of both releases together.
        slower: Factor on the durations of the later period, or of the newer release.
        failing: Factor on its failures.
        failures: Share of failures before.
        since: Where in the later period the change begins (0–1).
        minute_noise: Standard deviation of the logarithm that a minute's customers share; autocorrelation 0.8.
        day_noise: The same for a day.
        releases: Two releases in one period, with other shares of web customers, rather than two periods.
    """

    name: str
    days: int = 7
    a_day: int = 4_000
    slower: float = 1.0
    failing: float = 1.0
    failures: float = 0.02
    since: float = 0.0
    minute_noise: float = 0.05
    day_noise: float = 0.01
    releases: bool = False


CASES: Final = (
    Case("nothing changed, week"),
    Case("nothing changed, week, 40,000 a day", a_day=40_000),
    Case("nothing changed, week, rough minutes", minute_noise=0.15, day_noise=0.02),
    Case("nothing changed, day", days=1, a_day=20_000),
    Case("nothing changed, 2 releases", releases=True),
    Case("at the margin: slower ×1.05", slower=1.05, a_day=40_000),
    Case("at the margin: slower ×1.05, 4,000 a day", slower=1.05),
    Case("at the margin: slower ×1.05, day", slower=1.05, days=1, a_day=40_000),
    Case("at the margin: slower ×1.05, 2 releases", slower=1.05, a_day=40_000, releases=True),
    Case("at the margin: failures ×1.25", failing=1.25, a_day=40_000),
    Case("at the margin: failures ×1.25, 2 releases", failing=1.25, a_day=40_000, releases=True),
    Case("slower ×1.02", slower=1.02, a_day=40_000),
    Case("slower ×1.1", slower=1.1),
    Case("slower ×1.2 since the middle of the week", slower=1.2, since=0.5),
    Case("slower ×1.2 since the sixth day", slower=1.2, since=5 / 7),
    Case("failures ×3 since the middle of the week", failing=3, since=0.5),
    Case("slower ×1.1, 2 releases", slower=1.1, releases=True),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the report said of one simulated case."""

    latency: Conclusion
    correctness: Conclusion
    changed: bool


def outcomes(case: Case, seeds: range) -> Iterator[Outcome]:
    """The verdicts over seeds; ``changed`` is whether any figure at all was called better or worse."""
    for seed in seeds:
        figures = figures_of(case, seed)
        step = figures.steps[0]
        changes = (
            figures.good_rate_change, step.good_rate_change, step.failures_change, step.p50_change, step.p95_change,
            step.p99_change,
        )  # fmt: skip
        yield Outcome(step.latency.conclusion, step.correctness.conclusion, any(_proven(change) for change in changes))


def figures_of(case: Case, seed: int) -> FlowFigures:
    """The figures of one simulated case."""
    random = np.random.default_rng(seed)
    later = Period(float(START), float(START + case.days * DAY))
    if case.releases:
        rollup = _simulated(case, random, later, changed=True)
        return flow_figures(FLOW, rollup, KEYS, later, Comparison("release:8.1.0..8.2.0", later), now=later.end)
    weeks = -(-case.days // 7) * 7 * DAY
    earlier = Period(later.start - weeks, later.end - weeks)
    rollups = [_simulated(case, random, one, changed=one is later) for one in (later, earlier)]
    return flow_figures(FLOW, rollups[0], KEYS, later, Comparison("week", earlier), rollups[1], now=later.end)


def _simulated(case: Case, random: np.random.Generator, period: Period, *, changed: bool) -> Rollup:
    minutes = int(period.seconds) // 60
    season = 1 + 0.8 * np.sin((np.arange(minutes) / 1440 - 0.3) * 2 * np.pi)
    count = random.poisson(season * case.a_day / 1440)
    minute = np.repeat(np.arange(minutes), count)
    size = len(minute)
    noise = _autoregressive(random, minutes, case.minute_noise) + np.repeat(
        random.normal(0, case.day_noise, case.days), 1440
    )
    newer = random.random(size) < 0.4 if case.releases else np.zeros(size, dtype=bool)
    web = random.random(size) < np.where(newer, 0.7, 0.3)
    touched = (newer if case.releases else np.full(size, changed)) & (minute >= case.since * minutes)
    logs = random.normal(-0.2, 0.4, size) + noise[minute] + 0.7 * web + log(case.slower) * touched
    shared = np.exp(3 * noise[minute])  # failures come in bursts as slow minutes do
    failed = random.random(size) < case.failures * shared * np.where(touched, case.failing, 1.0)
    durations = np.exp(logs)
    verdict = np.where(failed, Verdict.ERROR, np.where(durations > 2, Verdict.SLOW, Verdict.GOOD))
    return roll_up_columns(
        ((period.start + minute * 60.0 + 30) * 1e6).astype(np.int64),
        duration_seconds=durations,
        series=(2 * newer + web).astype(np.int64),
        verdict=verdict.astype(np.int64),
        checks=np.zeros(size, dtype=np.int64),
        origin=np.zeros(size, dtype=np.int64),
        window_seconds=3_600 if case.days > 3 else 60,
    )


def _autoregressive(random: np.random.Generator, size: int, deviation: float, rho: float = 0.8) -> NDArray[np.float64]:
    shocks = random.normal(0, deviation * (1 - rho * rho) ** 0.5, size)
    value, result = random.normal(0, deviation), np.empty(size)
    for at, shock in enumerate(shocks):
        value = rho * value + shock
        result[at] = value
    return result


def _proven(change: ChangeFigure) -> bool:
    return change.status in (ChangeStatus.WORSE, ChangeStatus.BETTER)


def main() -> None:
    """Print how often each verdict is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    seeds = range(parser.parse_args().seeds)
    print(f"share of {len(seeds)} simulated reports (%)")
    print(f"{'':46}  {'latency':^23}  {'correctness':^23}   any figure")
    print(f"{'':46}  {'worse better same  ?':>23}  {'worse better same  ?':>23}   changed")
    words = (Conclusion.WORSE, Conclusion.BETTER, Conclusion.SAME, Conclusion.NOT_ENOUGH_DATA)
    for case in CASES:
        found = list(outcomes(case, seeds))
        shares = [
            "".join(f"{sum(getattr(one, about) is word for one in found) / len(found) * 100:6.1f}" for word in words)
            for about in ("latency", "correctness")
        ]
        print(f"{case.name:46} {shares[0]} {shares[1]} {sum(one.changed for one in found) / len(found) * 100:9.1f}")


if __name__ == "__main__":
    main()

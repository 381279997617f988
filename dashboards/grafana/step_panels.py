"""Charts of one step; scope and filter are given as SQL, so that flow dashboards and the step detail share them."""

from __future__ import annotations

from collections.abc import Sequence

from ...metrics.verdict import Verdict
from .frame import Wording
from .palette import BAD, GOOD, LINES, NEUTRAL, VERDICT_COLOURS
from .panels import PERCENT, Column, PanelBuilder, chart, sql
from .sql import FROM, INTERVAL, SCHEMA, TO

__all__ = ["checks_chart", "durations_chart", "verdict_names", "verdicts_chart"]


def verdict_names(words: Wording) -> dict[str, str]:
    """The verdicts as people read them, best first."""
    return {
        "good": words.text("good"),
        "slow": words.text("slow"),
        "stale": words.text("stale"),
        "incomplete": words.text("incomplete"),
        "wrong": words.text("wrong"),
        "abandoned": words.text("abandoned"),
        "timeout": words.text("timeout"),
        "error": words.text("error"),
    }


def durations_chart(
    words: Wording, flow: str, step: str, dimensions: str, title: str, width: int, target_seconds: float | None = None
) -> PanelBuilder:
    """Median, p95 and p99 of the durations, and the band in which the typical duration usually is."""
    low, high = words.text("usual from"), words.text("usual to")
    median, target = words.text("median"), words.text("target")
    deviation, event = words.text("deviation begins"), words.text("release or event")
    extra = f', {target_seconds:g}::float8 AS "{target}"' if target_seconds is not None else ""
    statement = (
        f'SELECT t."time", max(t.seconds) FILTER (WHERE t.q = 0.5) AS "{median}", max(t.seconds) FILTER (WHERE t.q = 0.95) AS "p95", '
        f'max(t.seconds) FILTER (WHERE t.q = 0.99) AS "p99", min(b.low_seconds) AS "{low}", max(b.high_seconds) AS "{high}"{extra}, '
        f"CASE WHEN EXISTS (SELECT FROM {SCHEMA}.deviations AS d WHERE d.flow = {flow} AND (d.step = {step} OR d.step IS NULL) "
        'AND d.kind <> \'recovered\' AND d.started_at >= t."time" AND d.started_at < t."time" + ' + INTERVAL + ") "
        f'THEN max(t.seconds) FILTER (WHERE t.q = 0.5) END AS "{deviation}", '
        f"CASE WHEN EXISTS (SELECT FROM {SCHEMA}.events AS e WHERE (e.flow IS NULL OR e.flow = {flow}) "
        'AND e.at >= t."time" AND e.at < t."time" + ' + INTERVAL + ") "
        f'THEN max(t.seconds) FILTER (WHERE t.q = 0.5) END AS "{event}" '
        f"FROM {SCHEMA}.quantile_timeseries({flow}, {step}, {FROM}, {TO}, {INTERVAL}, ARRAY[0.5, 0.95, 0.99], {dimensions}) AS t "
        f"LEFT JOIN {SCHEMA}.baseline_bands AS b ON b.flow = {flow} AND b.step = {step} "
        "AND b.hour = date_trunc('hour', t.\"time\", 'UTC') GROUP BY 1 ORDER BY 1"
    )
    text = words.text(
        "Durations of answers. The shaded band is where the median usually is at this time, over all customers; the median "
        "outside it for a while: something got slower or faster for everybody. Only p95 and p99 rise: some customers only, "
        "look at the dimensions."
    )
    columns = {
        median: Column(colour=LINES[5], more={"custom.lineWidth": 3}),
        "p95": Column(colour=LINES[1], more={"custom.lineWidth": 1}),
        "p99": Column(colour=LINES[3], more={"custom.lineWidth": 1}),
        low: Column(colour=GOOD, more={"custom.lineWidth": 0}),
        high: Column(colour=GOOD, more={"custom.lineWidth": 0, "custom.fillBelowTo": low, "custom.fillOpacity": 25}),
        deviation: Column(
            colour=BAD, more={"custom.drawStyle": "points", "custom.showPoints": "always", "custom.pointSize": 14}
        ),
        event: Column(
            colour=LINES[0], more={"custom.drawStyle": "points", "custom.showPoints": "always", "custom.pointSize": 10}
        ),
        target: Column(
            colour=NEUTRAL, more={"custom.lineWidth": 1, "custom.lineStyle": {"fill": "dash", "dash": [6, 6]}}
        ),
    }
    header = words.header(title, text, width, 9)
    return chart(header, [sql(statement, "time_series")], "s", words.no_data(), columns=columns, minimum=None)


def verdicts_chart(words: Wording, flow: str, step: str, dimensions: str, title: str, width: int) -> PanelBuilder:
    """Shares of the verdicts that are not good, stacked."""
    names = verdict_names(words)
    bad = [verdict.label for verdict in Verdict if verdict is not Verdict.GOOD]
    shares = ", ".join(f'100 * {label} / nullif(observations, 0)::float8 AS "{names[label]}"' for label in bad)
    statement = f'SELECT "time", {shares} FROM {SCHEMA}.step_timeseries({flow}, {step}, {FROM}, {TO}, {INTERVAL}, {dimensions}) ORDER BY 1'
    text = words.text(
        "Share of answers that were not good, by the worst thing wrong with them. A colour that appears or grows says what to "
        "look for: wrong and incomplete are the checks', slow is the target's, error and timeout are the service's."
    )
    columns = {names[label]: Column(colour=VERDICT_COLOURS[label]) for label in bad}
    header = words.header(title, text, width, 9)
    query = sql(statement, "time_series")
    return chart(header, [query], PERCENT, words.no_data(), columns=columns, stacked=True, at_least=1)


def checks_chart(
    words: Wording, flow: str, step: str, dimensions: str, title: str, width: int, checks: Sequence[str]
) -> PanelBuilder:
    """Share of answers that each check found fault with."""
    statement = (
        'SELECT "time", check_name AS metric, 100 * failed_ratio AS value '
        f"FROM {SCHEMA}.check_timeseries({flow}, {step}, {FROM}, {TO}, {INTERVAL}, {dimensions}) ORDER BY 1, 2"
    )
    text = words.text(
        "Share of evaluated answers that each accuracy check failed. Anything above its usual level: answers are wrong now."
    )
    columns = {name: Column(colour=LINES[number % len(LINES)]) for number, name in enumerate(checks)}
    header = words.header(title, text, width, 9)
    return chart(header, [sql(statement, "time_series")], PERCENT, words.no_data(), columns=columns, at_least=1)

"""The ruler's own health, from Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...metrics.names import Label, Metric
from .frame import HEALTH, Wording, new_dashboard, to_json
from .palette import BAD, FAIR, GOOD, LINES
from .panels import PROMETHEUS, Column, Header, PanelBuilder, bars, chart, figures, promql

__all__ = ["health_board"]

_RATE = "$__rate_interval"


def health_board(flows: Iterable[str], words: Wording) -> dict[str, Any]:
    """The dashboard of collection, storage and evaluation."""
    text = words.text("Whether the ruler measures: look here before you trust a quiet dashboard.")
    board = new_dashboard(words, HEALTH, words.text("Health of the ruler"), text)
    for panel in (
        *_stats(words),
        _written(flows, words),
        _dropped(words),
        _lags(words),
        _spool(words),
        _silence(words),
        _uncounted(words),
    ):
        board.with_panel(panel)
    return to_json(board)


def _stats(words: Wording) -> list[PanelBuilder]:
    none = words.no_data()
    lag = ((None, GOOD), (120, FAIR), (300, BAD))
    return [
        _stat(
            words.text("Figures readable"),
            words.text("1 when the ruler can read its own health. 0: see its log."),
            f"min({Metric.HEALTH_READABLE})",
            "none",
            none,
            ((None, BAD), (1, GOOD)),
        ),
        _stat(
            words.text("Writer is behind by"),
            words.text("How long the oldest observation waits to be written. Minutes: the database is slow or away."),
            f"max({Metric.WRITER_LAG_SECONDS})",
            "s",
            none,
            lag,
        ),
        _stat(
            words.text("Evaluation is behind by"),
            words.text(
                "Age of the newest window that was judged. Minutes: alerts come late, see the log of cxgauge up."
            ),
            f"max({Metric.EVALUATION_LAG_SECONDS})",
            "s",
            none,
            lag,
        ),
        _stat(
            words.text("Spool filled"),
            words.text(
                "Share of the spool's limit. At 100 % observations are refused: bring the database back or raise the limit."
            ),
            f"max({Metric.SPOOL_BYTES} / {Metric.SPOOL_LIMIT_BYTES})",
            "percentunit",
            none,
            ((None, GOOD), (0.5, FAIR), (0.8, BAD)),
        ),
        _stat(
            words.text("Lost in the span"),
            words.text(
                "Observations lost in the chosen span, for whatever reason. More than 0: see the reasons below."
            ),
            f"sum(increase({Metric.DROPPED_TOTAL}[$__range])) or vector(0)",
            "short",
            none,
            ((None, GOOD), (1, BAD)),
        ),
        _stat(
            words.text("Failed writes in the span"),
            words.text("Attempts to write that failed and were repeated. Many: the database restarts or refuses."),
            f"sum(increase({Metric.WRITER_FAILURES_TOTAL}[$__range]))",
            "short",
            none,
            ((None, GOOD), (1, FAIR), (20, BAD)),
        ),
    ]


def _stat(title: str, text: str, expression: str, unit: str, no_data: str, steps: Any) -> PanelBuilder:
    header = Header(title, text, 4, 4)
    return figures(header, [promql(expression, title, instant=True)], unit, no_data, steps=steps, datasource=PROMETHEUS)


def _lines(words: Wording, title: str, text: str, unit: str, *queries: Any, names: Iterable[str] = ()) -> PanelBuilder:
    named = [*(query.build().legend_format for query in queries), *names]
    columns = {name: Column(colour=LINES[number % len(LINES)]) for number, name in enumerate(named) if "{" not in name}
    header = words.header(title, text, 12, 8)
    none = words.no_data()
    return chart(header, queries, unit, none, datasource=PROMETHEUS, interval="15s", columns=columns)


def _written(flows: Iterable[str], words: Wording) -> PanelBuilder:
    text = words.text(
        "Observations written a second, and received by flow. Falls to 0 by day: nothing arrives, ask the senders."
    )
    return _lines(
        words,
        words.text("Observations a second"),
        text,
        "short",
        promql(f"sum(rate({Metric.WRITTEN_TOTAL}[{_RATE}]))", words.text("written")),
        promql(f"sum by ({Label.FLOW}) (rate({Metric.OBSERVATIONS_TOTAL}[{_RATE}]))", "{{" + Label.FLOW + "}}", "B"),
        names=flows,
    )


def _dropped(words: Wording) -> PanelBuilder:
    text = words.text(
        "Observations lost a second, by reason. buffer_full: the recorder's process is too busy; spool_full: the database is away too long."
    )
    return _lines(
        words,
        words.text("Lost, by reason"),
        text,
        "short",
        promql(
            f"sum by ({Label.REASON}) (rate({Metric.DROPPED_TOTAL}[{_RATE}]))",
            "{{" + Label.REASON + "}}",
        ),
        names=(
            "buffer_full",
            "spool_full",
            "spool_error",
            "unknown_flow",
            "unknown_step",
            "no_flow",
            "not_configured",
            "internal_error",
        ),
    )


def _lags(words: Wording) -> PanelBuilder:
    text = words.text(
        "How far writing and evaluation are behind, and how long one evaluation takes. Growing without end: too slow for the load."
    )
    return _lines(
        words,
        words.text("Behind by"),
        text,
        "s",
        promql(f"max({Metric.WRITER_LAG_SECONDS})", words.text("writer")),
        promql(f"max({Metric.EVALUATION_LAG_SECONDS})", words.text("evaluation"), "B"),
        promql(f"max({Metric.EVALUATION_DURATION_SECONDS})", words.text("one evaluation takes"), "C"),
    )


def _spool(words: Wording) -> PanelBuilder:
    text = words.text(
        "Size of the spool on disk against its limit. It grows while the database is away and shrinks afterwards."
    )
    return _lines(
        words,
        words.text("Spool"),
        text,
        "bytes",
        promql(f"sum({Metric.SPOOL_BYTES})", words.text("used")),
        promql(f"sum({Metric.SPOOL_LIMIT_BYTES})", words.text("limit"), "B"),
    )


def _silence(words: Wording) -> PanelBuilder:
    text = words.text(
        "Time since the last observation of each step. A long bar by day: that step's sender is silent, which is not health."
    )
    header = words.header(words.text("Since the last observation"), text, 12, 8)
    query = promql(
        f"time() - max by ({Label.FLOW}, {Label.STEP}) ({Metric.LAST_OBSERVATION_SECONDS})",
        "{{" + Label.FLOW + "}} {{" + Label.STEP + "}}",
        instant=True,
    )
    steps = ((None, LINES[0]), (300, FAIR), (1800, BAD))
    return bars(header, [query], "s", words.no_data(), steps=steps, datasource=PROMETHEUS, of_rows=False)


def _uncounted(words: Wording) -> PanelBuilder:
    text = words.text(
        "Observations in none of the other figures, by reason. Unknown step: the sender and the flow specification differ, run cxgauge match."
    )
    header = words.header(words.text("Not counted, in the span"), text, 12, 8)
    query = promql(
        f"sum by ({Label.REASON}) (increase({Metric.UNCOUNTED_OBSERVATIONS_TOTAL}[$__range]))",
        "{{" + Label.REASON + "}}",
        instant=True,
    )
    return bars(
        header, [query], "short", words.no_data(), steps=((None, LINES[0]),), datasource=PROMETHEUS, of_rows=False
    )

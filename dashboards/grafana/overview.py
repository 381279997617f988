"""The experience overview: every flow on one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...metrics.specification.flow import FlowSpec
from .alert_panel import open_alerts
from .frame import OVERVIEW, Wording, annotate, flow_uid, new_dashboard, to_json
from .palette import BAD, FAIR, GOOD, LINES
from .panels import PERCENT, Column, PanelBuilder, bars, chart, figures, note, rows, sql
from .sql import FROM, INTERVAL, SCHEMA, TO, ask_steps, case, literal, quoted, step_values

__all__ = ["overview"]

_RATE = Column("percentunit", 2)
_CHANGE = Column("percentunit", 2, steps=((None, BAD), (-0.002, FAIR), (0, GOOD)), cell="background")
_SPANS = {"now": "0 days", "week": "7 days", "year": "364 days"}  # 364: the same day of the week


def overview(flows: Mapping[str, FlowSpec], words: Wording) -> dict[str, Any]:
    """The dashboard of all flows."""
    title, text = (
        words.text("Experience overview"),
        words.text("How customers fare in every flow, and against which promise."),
    )
    board = new_dashboard(words, OVERVIEW, title, text)
    for panel in (_how(words), _rates(flows, words), _table(flows, words), _trend(flows, words), _budget(flows, words)):
        board.with_panel(panel)
    board.with_panel(open_alerts(words, flows.values(), "NULL", width=24))
    annotate(board, words, "NULL::text")
    return to_json(board)


def _how(words: Wording) -> PanelBuilder:
    content = words.text(
        "A **good answer** is fast, right and complete. **Timeliness** is the share of right answers within the target, "
        "**accuracy** the share that no check found wrong, incomplete or stale. **Budget left** is what remains of "
        "the bad answers that the objective allows in the chosen span. Begin with the lowest budget and open that flow."
    )
    return note(
        words.header("", words.text("Read this first; then open the flow with the least budget."), 24, 2), content
    )


def _titles(flows: Mapping[str, FlowSpec], words: Wording) -> dict[str, str]:
    return {name: flow.title.in_language(words.language) for name, flow in flows.items()}


def _course(flows: Mapping[str, FlowSpec], words: Wording) -> str:
    names = ", ".join(f"({literal(name)})" for name in flows)
    return (
        f'SELECT t."time", {case("s.flow", _titles(flows, words))} AS metric, 100 * t.good_answer_ratio AS value '
        f"FROM (VALUES {names}) AS s (flow), {SCHEMA}.step_timeseries(s.flow, NULL, {FROM}, {TO}, {INTERVAL}) AS t "
        "ORDER BY 1, 2"
    )


def _rates(flows: Mapping[str, FlowSpec], words: Wording) -> PanelBuilder:
    text = words.text("Latest good-answer rate of each flow and its course. Red or orange: open the flow.")
    header = words.header(words.text("Good-answer rate"), text, 24, 4)
    lowest = min(step.good_objective for flow in flows.values() for step in flow.steps)
    steps = ((None, BAD), (100 - 200 * (1 - lowest), FAIR), (100 * lowest, GOOD))
    query = sql(_course(flows, words), "time_series")
    return figures(header, [query], PERCENT, words.no_data(), steps=steps, decimals=2, spark=True)


def _summary(flows: Mapping[str, FlowSpec], words: Wording) -> str:
    """CTEs ``now``, ``week`` and ``year``: the sums of each flow's steps in the span, a week and a year before."""
    values = step_values(flows.values(), words.language)
    parts = [
        f'"{name}" AS (SELECT flow, min(flow_title) AS title, sum(observations) AS observations, sum(good) AS good, '
        "sum(returned) AS returned, sum(accurate) AS accurate, "
        "sum(observations * (1 - objective)) AS allowed FROM ("
        f"{ask_steps(values, _earlier(FROM, before), _earlier(TO, before))}) AS asked GROUP BY flow)"
        for name, before in _SPANS.items()
    ]
    return f"WITH {', '.join(parts)}"


def _earlier(time: str, before: str) -> str:
    return time if before == "0 days" else f"({time} - interval '{before}')"


def _table(flows: Mapping[str, FlowSpec], words: Wording) -> PanelBuilder:
    names = {
        "flow": words.text("Flow"),
        "observations": words.text("Observations"),
        "good": words.text("Good answers"),
        "timely": words.text("Timeliness"),
        "accurate": words.text("Accuracy"),
        "budget": words.text("Budget left"),
        "week": words.text("Against last week"),
        "year": words.text("Against last year"),
        "alerts": words.text("Open alerts"),
        "link": words.text("Open the flow"),
    }
    links = {name: flow_uid(name) for name in flows}
    statement = (
        f'{_summary(flows, words)} SELECT n.title AS "{names["flow"]}", n.observations AS "{names["observations"]}", '
        f'n.good / nullif(n.observations, 0) AS "{names["good"]}", n.good / nullif(n.accurate, 0) AS "{names["timely"]}", '
        f'n.accurate / nullif(n.returned, 0) AS "{names["accurate"]}", '
        f'1 - (n.observations - n.good) / nullif(n.allowed, 0) AS "{names["budget"]}", '
        f'n.good / nullif(n.observations, 0) - w.good / nullif(w.observations, 0) AS "{names["week"]}", '
        f'n.good / nullif(n.observations, 0) - y.good / nullif(y.observations, 0) AS "{names["year"]}", '
        f"(SELECT count(*) FROM {SCHEMA}.alerts AS a WHERE a.flow = n.flow AND a.state <> 'resolved') AS \"{names['alerts']}\", "
        f'{case("n.flow", links)} AS "{names["link"]}" '
        "FROM now AS n LEFT JOIN week AS w USING (flow) LEFT JOIN year AS y USING (flow) ORDER BY 6 NULLS LAST"
    )
    text = words.text(
        "Every flow in the chosen span, least budget first; changes are in points against the same span a week and 364 days "
        "before. Click its name on the right to open it. A negative budget: the promise is broken, act now."
    )
    link = {
        "title": words.text("Open the flow"),
        "url": "${__data.fields.link}?${__url_time_range}",
        "targetBlank": False,
    }
    columns = {
        names["link"]: Column(more={"links": [link]}),
        names["observations"]: Column("short"),
        names["good"]: _RATE,
        names["timely"]: _RATE,
        names["accurate"]: _RATE,
        names["budget"]: Column(
            "percentunit", 1, steps=((None, BAD), (0, FAIR), (0.25, GOOD)), cell="background", width=120
        ),
        names["week"]: _CHANGE,
        names["year"]: _CHANGE,
        names["alerts"]: Column("none", 0, steps=((None, GOOD), (1, BAD)), cell="background"),
    }
    header = words.header(words.text("Flows"), text, 24, 7)
    return rows(header, sql(statement), columns, words.no_data())


def _trend(flows: Mapping[str, FlowSpec], words: Wording) -> PanelBuilder:
    text = words.text("Good-answer rate over time. A step down that begins at a release's mark: ask who released.")
    header = words.header(words.text("Trend of the good-answer rate"), text, 14, 9)
    query = sql(_course(flows, words), "time_series")
    columns = {title: Column(colour=LINES[n % len(LINES)]) for n, title in enumerate(_titles(flows, words).values())}
    return chart(header, [query], PERCENT, words.no_data(), minimum=None, columns=columns)


def _budget(flows: Mapping[str, FlowSpec], words: Wording) -> PanelBuilder:
    columns = ", ".join(
        f"1 - sum(observations - good) FILTER (WHERE flow = {literal(name)}) "
        f'/ nullif(sum(observations * (1 - objective)) FILTER (WHERE flow = {literal(name)}), 0) AS "{quoted(title)}"'
        for name, title in _titles(flows, words).items()
    )
    statement = f"SELECT {columns} FROM ({ask_steps(step_values(flows.values(), words.language))}) AS asked"
    text = words.text(
        "What is left of the bad answers allowed in the span; an empty bar is a broken promise. Mend the shortest first."
    )
    header = words.header(words.text("Error budget left"), text, 10, 9)
    steps = ((None, BAD), (0, FAIR), (0.25, GOOD))
    return bars(header, [sql(statement)], "percentunit", words.no_data(), steps=steps, maximum=1)

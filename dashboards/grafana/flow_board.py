"""The dashboard of one flow: its steps in order, each against its usual band."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard as builder

from ...metrics.specification.flow import FlowSpec, StepSpec
from .alert_panel import open_alerts
from .frame import STEP, TAG, Wording, annotate, dimension_variable, flow_uid, new_dashboard, to_json
from .key_figures import key_figures
from .palette import BAD, FAIR, GOOD, LINES
from .panels import Column, PanelBuilder, bars, rows, sql
from .sql import FROM, SCHEMA, TO, ask_steps, dimension_filter, literal, quoted, step_values
from .step_panels import checks_chart, durations_chart, verdicts_chart

__all__ = ["flow_board"]


def flow_board(flow: FlowSpec, words: Wording) -> dict[str, Any]:
    """The dashboard of ``flow``."""
    title = flow.title.in_language(words.language)
    text = words.text("{flow}, owned by {owner}: its steps in order.", flow=title, owner=flow.owner)
    board = new_dashboard(words, flow_uid(flow.name), title, text, [f"{TAG}-flow"])
    for dimension in flow.dimensions:
        label = dimension.title.in_language(words.language) if dimension.title else dimension.name
        board.with_variable(dimension_variable(words, flow, dimension.name, label))
    board.with_panel(_figures(flow, words)).with_panel(_steps(flow, words)).with_panel(_funnel(flow, words))
    board.with_panel(_drop_off(flow, words)).with_panel(
        open_alerts(words, [flow], literal(flow.name), width=24, height=6)
    )
    for step in flow.steps:
        _add_step(board, flow, step, words)
    if flow.dimensions:
        board.with_row(builder.Row(words.text("By dimension")))
        for dimension in flow.dimensions:
            board.with_panel(_by_dimension(flow, dimension.name, words))
    annotate(board, words, literal(flow.name))
    return to_json(board)


def _filter(flow: FlowSpec) -> str:
    return dimension_filter([dimension.name for dimension in flow.dimensions])


def _asked(flow: FlowSpec, words: Wording) -> str:
    return ask_steps(step_values([flow], words.language), dimensions=_filter(flow))


def _figures(flow: FlowSpec, words: Wording) -> PanelBuilder:
    text = words.text(
        "The whole flow in the chosen span, all its steps together. Orange or red: find the step in the table below."
    )
    objectives = [
        min(step.good_objective for step in flow.steps),
        min(step.timeliness.objective for step in flow.steps),
        min(step.accuracy_objective for step in flow.steps),
    ]
    return key_figures(
        words, words.header(words.text("The flow as a whole"), text, 24, 4), _asked(flow, words), objectives
    )


def _steps(flow: FlowSpec, words: Wording) -> PanelBuilder:
    names = {
        "step": words.text("Step"),
        "observations": words.text("Observations"),
        "good": words.text("Good answers"),
        "timely": words.text("Timeliness"),
        "accurate": words.text("Accuracy"),
        "p50": words.text("Median"),
        "p95": "p95",
        "p99": "p99",
        "budget": words.text("Budget left"),
    }
    statement = (
        f'SELECT a.step_title AS "{names["step"]}", a.observations AS "{names["observations"]}", '
        f'a.good / nullif(a.observations, 0) AS "{names["good"]}", a.good / nullif(a.accurate, 0) AS "{names["timely"]}", '
        f'a.accurate / nullif(a.returned, 0) AS "{names["accurate"]}", q.s[1] AS "{names["p50"]}", q.s[2] AS "{names["p95"]}", '
        f'q.s[3] AS "{names["p99"]}", 1 - (a.observations - a.good) / nullif(a.observations * (1 - a.objective), 0) '
        f'AS "{names["budget"]}" FROM ({_asked(flow, words)}) AS a CROSS JOIN LATERAL (SELECT array_agg(seconds ORDER BY q) AS s '
        f"FROM {SCHEMA}.quantiles(a.flow, a.step, {FROM}, {TO}, ARRAY[0.5, 0.95, 0.99], {_filter(flow)})) AS q ORDER BY a.position"
    )
    rate, seconds = Column("percentunit", 2), Column("s")
    columns = {names[key]: rate for key in ("good", "timely", "accurate")}
    columns |= {names[key]: seconds for key in ("p50", "p95", "p99")}
    columns[names["observations"]] = Column("short")
    steps = ((None, BAD), (0, FAIR), (0.25, GOOD))
    columns[names["budget"]] = Column("percentunit", 1, steps=steps, cell="background")
    text = words.text(
        "The steps in the order customers take them. Begin with the least budget; its charts are further down."
    )
    return rows(words.header(words.text("Steps"), text, 24, 7), sql(statement), columns, words.no_data())


def _funnel(flow: FlowSpec, words: Wording) -> PanelBuilder:
    first = literal(flow.steps[0].name)
    columns = ", ".join(
        f"sum(observations) FILTER (WHERE step = {literal(step.name)}) / nullif(sum(observations) FILTER (WHERE step = {first}), 0) "
        f'AS "{quoted(step.title.in_language(words.language))}"'
        for step in flow.steps
    )
    statement = f"SELECT {columns} FROM ({_asked(flow, words)}) AS asked"
    text = words.text(
        "How often each step was passed for every passing of the first. A bar that got shorter: customers leave before that "
        "step; look at the step above it. Optional and repeated steps are naturally shorter or longer."
    )
    header = words.header(words.text("Funnel"), text, 7, 8)
    return bars(header, [sql(statement)], "percentunit", words.no_data(), steps=((None, LINES[0]),))


def _drop_off(flow: FlowSpec, words: Wording) -> PanelBuilder:
    names = {
        "step": words.text("Step"),
        "reached": words.text("Reached it"),
        "hit": words.text("Had a bad answer here"),
        "given_up": words.text("Gave up here"),
        "ratio": words.text("Drop-off"),
    }
    steps = ", ".join(
        f"({number}, {literal(step.name)}, {literal(step.title.in_language(words.language))})"
        for number, step in enumerate(flow.steps)
    )
    statement = (
        f'SELECT s.title AS "{names["step"]}", sum(i.reached)::float8 AS "{names["reached"]}", '
        f'sum(i.hit) / nullif(sum(i.reached), 0)::float8 AS "{names["hit"]}", '
        f'sum(i.given_up)::float8 AS "{names["given_up"]}", '
        f'sum(i.given_up) / nullif(sum(i.reached), 0)::float8 AS "{names["ratio"]}" '
        f"FROM (VALUES {steps}) AS s (position, step, title) JOIN {SCHEMA}.instance_rollups AS i "
        f"ON i.flow = {literal(flow.name)} AND i.step = s.step AND i.origin <> 1 "
        f"WHERE i.hour >= date_trunc('hour', {FROM}, 'UTC') AND i.hour < {TO} GROUP BY s.position, s.title ORDER BY s.position"
    )
    columns = {
        names["reached"]: Column("short", width=110),
        names["hit"]: Column("percentunit", 1, width=160),
        names["given_up"]: Column("short", width=120),
        names["ratio"]: Column(
            "percentunit", 1, cell="bar", steps=((None, LINES[1]),), more={"min": 0, "max": 0.5}, width=170
        ),
    }
    text = words.text(
        "Of the flow instances that reached a step, the share whose last step it was although the flow does not end there. The "
        "longest bar: customers leave there; many bad answers beside it: that is why. Instances are told apart by the flow "
        "instance id that senders give, and are counted some three hours after they began."
    )
    header = words.header(words.text("Drop-off"), text, 17, 8)
    return rows(header, sql(statement), columns, words.text("no flow instances counted in this span"))


def _add_step(board: Any, flow: FlowSpec, step: StepSpec, words: Wording) -> None:
    title = step.title.in_language(words.language)
    board.with_row(builder.Row(title))
    scope = (literal(flow.name), literal(step.name), _filter(flow))
    width = 8 if step.checks else 12
    target = step.timeliness.target_seconds
    link = builder.DashboardLink(words.text("Step detail")).url(
        f"/d/{STEP}?var-flow={flow.name}&var-step={step.name}&${{__url_time_range}}"
    )
    named = words.text("{step}: durations", step=title)
    board.with_panel(durations_chart(words, *scope, named, width, target).links([link]))
    board.with_panel(verdicts_chart(words, *scope, words.text("{step}: bad answers", step=title), width).links([link]))
    if step.checks:
        named = words.text("{step}: failing checks", step=title)
        board.with_panel(checks_chart(words, *scope, named, width, step.check_names).links([link]))


def _by_dimension(flow: FlowSpec, dimension: str, words: Wording) -> PanelBuilder:
    title = next(item.title for item in flow.dimensions if item.name == dimension)
    label = title.in_language(words.language) if title else dimension
    names = {
        "step": words.text("Step"),
        "value": label,
        "observations": words.text("Observations"),
        "good": words.text("Good answers"),
        "p50": words.text("Median"),
        "p95": "p95",
    }
    steps = ", ".join(
        f"({number}, {literal(step.name)}, {literal(step.title.in_language(words.language))})"
        for number, step in enumerate(flow.steps)
    )
    statement = (
        f'SELECT s.title AS "{names["step"]}", d.value AS "{names["value"]}", d.observations AS "{names["observations"]}", '
        f'd.good_answer_ratio AS "{names["good"]}", d.p50_seconds AS "{names["p50"]}", d.p95_seconds AS "{names["p95"]}" '
        f"FROM (VALUES {steps}) AS s (position, step, title), "
        f"{SCHEMA}.dimension_summary({literal(flow.name)}, s.step, {literal(dimension)}, {FROM}, {TO}) AS d "
        "ORDER BY s.position, d.observations DESC LIMIT 200"
    )
    columns = {
        names["observations"]: Column("short", width=110),
        names["good"]: Column("percentunit", 2, width=120),
        names["value"]: Column(width=110),
        names["p50"]: Column("s", width=90),
        names["p95"]: Column("s", width=90),
    }
    text = words.text(
        "Each step by {dimension}. One value that is worse than the others: that is where to look.", dimension=label
    )
    header = words.header(words.text("By {dimension}", dimension=label), text, 12, 9)
    return rows(header, sql(statement), columns, words.no_data())

"""Step detail: any step of any flow, before and after a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...metrics.names import Label, Metric
from ...metrics.specification.flow import FlowSpec
from .alert_panel import INTERVAL_TEXT, open_alerts
from .frame import STEP, Wording, annotate, new_dashboard, query_variable, to_json
from .heatmap_panel import duration_heatmap
from .key_figures import key_figures
from .palette import BAD, FAIR, GOOD, LINES
from .panels import PROMETHEUS, Column, PanelBuilder, chart, promql, rows, sql
from .sql import FROM, SCHEMA, TO, ask_steps, case, step_values
from .step_panels import checks_chart, durations_chart, verdicts_chart

__all__ = ["step_board"]

_FLOW, _STEP, _DIMENSION = "${flow:sqlstring}", "${step:sqlstring}", "${dimension:sqlstring}"
_CHANGE = "to_timestamp(${change:raw})"
_ALL = "'{}'::jsonb"
_QUANTILES = {"0.5": "p50", "0.9": "p90", "0.95": "p95", "0.99": "p99", "0.999": "p99.9"}
_COARSE = 9  # buckets of 2 % a row of the distribution, so about 20 %


def step_board(flows: Mapping[str, FlowSpec], words: Wording) -> dict[str, Any]:
    """The dashboard that shows one step in detail."""
    text = words.text("One step in detail: what changed at the chosen moment, for whom, and examples.")
    board = new_dashboard(words, STEP, words.text("Step detail"), text)
    for variable in _variables(flows, words):
        board.with_variable(variable)
    scope = (_FLOW, _STEP, _ALL)
    checks = sorted({name for flow in flows.values() for step in flow.steps for name in step.check_names})
    board.with_panel(_figures(flows, words))
    board.with_panel(durations_chart(words, *scope, words.text("Durations and usual band"), 12))
    board.with_panel(verdicts_chart(words, *scope, words.text("Bad answers"), 12))
    board.with_panel(duration_heatmap(words, *scope, 24))
    for panel in (_quantiles(words), _distribution(words), _by_dimension(words)):
        board.with_panel(panel)
    board.with_panel(checks_chart(words, *scope, words.text("Failing checks"), 12, checks))
    board.with_panel(_examples(words)).with_panel(_deviations(words))
    board.with_panel(open_alerts(words, flows.values(), _FLOW, _STEP, width=24, height=7))
    annotate(board, words, _FLOW, _STEP)
    return to_json(board)


def _variables(flows: Mapping[str, FlowSpec], words: Wording) -> list[Any]:
    first = next(iter(flows.values()))
    titles = {name: flow.title.in_language(words.language) for name, flow in flows.items()}
    steps = {
        f"{flow.name}/{step.name}": step.title.in_language(words.language)
        for flow in flows.values()
        for step in flow.steps
    }
    of_flows = f"SELECT DISTINCT {case('flow', titles)} AS __text, flow AS __value FROM {SCHEMA}.series ORDER BY 1"
    both = "flow || '/' || step"
    of_steps = (
        f"SELECT DISTINCT {case(both, steps)} AS __text, step AS __value FROM {SCHEMA}.series "
        f"WHERE flow = {_FLOW} ORDER BY 1"
    )
    of_dimensions = (
        f"SELECT DISTINCT key AS __text, key AS __value FROM {SCHEMA}.series, jsonb_object_keys(dimensions) AS key "
        f"WHERE flow = {_FLOW} ORDER BY 1"
    )
    step = first.steps[0]
    return [
        query_variable("flow", words.text("Flow"), of_flows, (titles[first.name], first.name)),
        query_variable("step", words.text("Step"), of_steps, (step.title.in_language(words.language), step.name)),
        query_variable("dimension", words.text("Dimension"), of_dimensions),
        query_variable("change", words.text("Before and after"), _changes(words)),
    ]


def _changes(words: Wording) -> str:
    """Moments to compare before and after: deviations and events of the span, newest first, else its middle."""
    kind = case("kind", words.kinds())
    return (
        "SELECT to_char(at, 'MM-DD HH24:MI') || ' ' || what AS __text, extract(epoch FROM at)::int8::text AS __value FROM ("
        f"SELECT started_at AS at, {kind} AS what, 0 AS rank FROM {SCHEMA}.deviations "
        f"WHERE flow = {_FLOW} AND (step = {_STEP} OR step IS NULL) AND kind <> 'recovered' AND started_at > {FROM} AND started_at < {TO} "
        f"UNION SELECT at, title, 1 FROM {SCHEMA}.events WHERE (flow IS NULL OR flow = {_FLOW}) AND at > {FROM} AND at < {TO} "
        f"UNION SELECT date_trunc('minute', {FROM} + ({TO} - {FROM}) / 2), '{words.text('middle of the span')}', 2"
        ") AS moments ORDER BY rank, at DESC LIMIT 50"
    )


def _figures(flows: Mapping[str, FlowSpec], words: Wording) -> PanelBuilder:
    asked = ask_steps(
        f"(SELECT * FROM {step_values(flows.values(), words.language)} WHERE flow = {_FLOW} AND step = {_STEP}) AS s"
    )
    text = words.text(
        "The step in the chosen span. Choose a deviation or a release at the top to compare before and after it."
    )
    return key_figures(words, words.header(words.text("The step as a whole"), text, 24, 4), asked)


def _quantiles(words: Wording) -> PanelBuilder:
    quantile, before, after, change = (
        words.text("Quantile"),
        words.text("Before"),
        words.text("After"),
        words.text("Change"),
    )
    qs = f"ARRAY[{', '.join(_QUANTILES)}]"
    statement = (
        f'SELECT {case("b.q::text", _QUANTILES)} AS "{quantile}", b.seconds AS "{before}", a.seconds AS "{after}", '
        f'a.seconds / nullif(b.seconds, 0) - 1 AS "{change}" '
        f"FROM {SCHEMA}.quantiles({_FLOW}, {_STEP}, {FROM}, {_CHANGE}, {qs}) AS b "
        f"JOIN {SCHEMA}.quantiles({_FLOW}, {_STEP}, {_CHANGE}, {TO}, {qs}) AS a USING (q) ORDER BY b.q"
    )
    steps = ((None, GOOD), (0.05, FAIR), (0.1, BAD))
    columns = {
        before: Column("s", width=120),
        after: Column("s", width=120),
        change: Column("percentunit", 1, steps=steps, cell="background", width=120),
    }
    text = words.text(
        "Durations before and after the chosen moment. All rows up by about the same: everything got slower; only the lowest "
        "rows: a part of the answers did."
    )
    return rows(words.header(words.text("Before and after"), text, 10, 13), sql(statement), columns, words.no_data())


def _distribution(words: Wording) -> PanelBuilder:
    duration, before, after = words.text("Up to"), words.text("Before"), words.text("After")

    def part(start: str, end: str) -> str:
        return (
            f"SELECT ceil(bucket / {_COARSE}.0)::int * {_COARSE} AS edge, sum(observations) / sum(sum(observations)) OVER () AS share "
            f"FROM {SCHEMA}.distribution({_FLOW}, {_STEP}, {start}, {end}) GROUP BY 1"
        )

    statement = (
        f'SELECT power(1.02::float8, edge) AS "{duration}", coalesce(b.share, 0)::float8 AS "{before}", coalesce(a.share, 0)::float8 AS "{after}" '
        f"FROM ({part(FROM, _CHANGE)}) AS b FULL JOIN ({part(_CHANGE, TO)}) AS a USING (edge) "
        "WHERE greatest(b.share, a.share) >= 0.002 ORDER BY edge"
    )
    columns = {
        duration: Column("s", 2, width=90),
        before: Column("percentunit", 1, cell="bar", steps=((None, LINES[0]),), more={"min": 0, "max": 0.4}),
        after: Column("percentunit", 1, cell="bar", steps=((None, LINES[1]),), more={"min": 0, "max": 0.4}),
    }
    text = words.text(
        "Share of answers by duration, rows of about 20 %. The whole hill moved: everything got slower. A second hill: a part "
        "of the answers takes another way, find it by dimension."
    )
    header = words.header(words.text("Distribution before and after"), text, 14, 13)
    return rows(header, sql(statement), columns, words.no_data())


def _by_dimension(words: Wording) -> PanelBuilder:
    names = {
        "value": words.text("Value"),
        "observations": words.text("Observations"),
        "good": words.text("Good after"),
        "good_change": words.text("Good, change"),
        "p50": words.text("Median after"),
        "p50_change": words.text("Median, change"),
    }
    summary = f"{SCHEMA}.dimension_summary({_FLOW}, {_STEP}, {_DIMENSION}"
    statement = (
        f'SELECT a.value AS "{names["value"]}", a.observations AS "{names["observations"]}", '
        f'a.good_answer_ratio AS "{names["good"]}", a.good_answer_ratio - b.good_answer_ratio AS "{names["good_change"]}", '
        f'a.p50_seconds AS "{names["p50"]}", a.p50_seconds / nullif(b.p50_seconds, 0) - 1 AS "{names["p50_change"]}" '
        f"FROM {summary}, {_CHANGE}, {TO}) AS a LEFT JOIN {summary}, {FROM}, {_CHANGE}) AS b USING (value) "
        "ORDER BY a.observations DESC LIMIT 100"
    )
    columns = {
        names["value"]: Column(width=100),
        names["observations"]: Column("short", width=100),
        names["good"]: Column("percentunit", 2, width=110),
        names["good_change"]: Column(
            "percentunit", 2, steps=((None, BAD), (-0.002, FAIR), (0, GOOD)), cell="background"
        ),
        names["p50"]: Column("s", width=110),
        names["p50_change"]: Column(
            "percentunit", 1, steps=((None, GOOD), (0.05, FAIR), (0.1, BAD)), cell="background"
        ),
    }
    text = words.text(
        "The chosen dimension after the chosen moment, against before. One value stands out: the cause is there; none does: it is common to all."
    )
    return rows(words.header(words.text("By dimension"), text, 12, 9), sql(statement), columns, words.no_data())


def _examples(words: Wording) -> PanelBuilder:
    selector = f'{{{Label.FLOW}="$flow", {Label.STEP}="$step"}}'
    expression = f"histogram_quantile(0.99, sum by (le) (rate({Metric.STEP_DURATION_SECONDS}_bucket{selector}[$__rate_interval])))"
    text = words.text(
        "p99 as Prometheus has it, with exemplars as dots: click the slowest one and follow its trace_id to the trace. Dots need "
        "senders that trace. Observations with their traces are also listed on the step's page of cxgauge."
    )
    header = words.header(words.text("Worst examples, with traces"), text, 12, 9)
    queries = [promql(expression, "p99", exemplar=True)]
    return chart(header, queries, "s", words.no_data(), datasource=PROMETHEUS, minimum=None)


def _deviations(words: Wording) -> PanelBuilder:
    names = [
        words.text("Since"),
        words.text("What"),
        words.text("Check"),
        words.text("Change"),
        words.text("95 % interval"),
        words.text("Observations"),
    ]
    since, kind, check, effect, interval, count = (f'"{name}"' for name in names)
    statement = (
        f"SELECT started_at AS {since}, {case('kind', words.kinds())} AS {kind}, coalesce(nullif(concat_ws(' ', check_name, "
        f"nullif(dimensions::text, '{{}}')), ''), '–') AS {check}, exp(effect) - 1 AS {effect}, {INTERVAL_TEXT} AS {interval}, "
        f"observations AS {count} FROM {SCHEMA}.deviations WHERE flow = {_FLOW} AND (step = {_STEP} OR step IS NULL) "
        f"AND effect BETWEEN -14 AND 14 AND started_at < {TO} AND detected_at >= {FROM} ORDER BY started_at DESC LIMIT 100"
    )
    columns = {
        names[0]: Column("dateTimeAsIso", width=150),
        names[1]: Column(width=110),
        names[3]: Column("percentunit", 1, width=80),
        names[4]: Column(width=130),
        names[2]: Column(width=130),
        names[5]: Column("short", width=100),
    }
    text = words.text(
        "What was found of this step in the span, with 95 % intervals. Choose one at the top to compare before and after it."
    )
    return rows(
        words.header(words.text("Deviations"), text, 12, 9), sql(statement), columns, words.text("no deviations")
    )

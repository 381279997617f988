"""Test cases for the generated rules, as ``promtool test rules`` reads them.

Every budget alert is tried at shares of bad answers around its thresholds; which alerts must fire then follows from the
table of burn rates, the expressions are Prometheus' business. See
https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/.

Cases begin at 1970-01-01 unless told otherwise: ``start_timestamp`` belongs to a case, and promtool knows it from
3.9.0 on (https://github.com/prometheus/prometheus/pull/17636); older ones refuse the file that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ...metrics.names import Label, Metric
from ...metrics.specification.flow import FlowSpec, StepSpec
from ...metrics.verdict import Verdict
from .rules import flow_rules, objectives

__all__ = ["flow_tests", "no_data_tests", "ruler_tests"]

TestFile = dict[str, Any]
Firing = set[tuple[str, ...]]  # (alertname, severity, step)

_PER_MINUTE = 600.0
_BURN_RATES = (0.5, 1.5, 4.0, 8.0, 20.0)  # one between each two of the table, one below and one above all
_BAD_VERDICT = {"timeliness": Verdict.SLOW, "accuracy": Verdict.WRONG, "good_answer": Verdict.ERROR}
_HOUR = 60
_WEEK_HOURS = 7 * 24


def flow_tests(flow: FlowSpec, rule_file: str, start: int | None = None) -> TestFile:
    """Cases for the budget and deviation alerts of ``flow``; ``start`` is when they begin (promtool 3.9)."""
    cases = [case for step in flow.steps for case in _budget_cases(flow, step)]
    return _file(rule_file, "10m", [*cases, *_deviation_cases(flow)], flow, start)


def no_data_tests(flow: FlowSpec, rule_file: str, start: int | None = None) -> TestFile:
    """Cases for the alert on silence, which compares with a week ago and so needs a week of samples."""
    step = flow.steps[0].name
    labels = {Label.FLOW: flow.name, Label.STEP: step}
    begins = start or 0
    stops = begins + 60 * 60 * (_WEEK_HOURS - 1)
    steps = 12 * (_WEEK_HOURS + 3)
    total = _series(Metric.OBSERVATIONS_TOTAL, {**labels, Label.VERDICT: Verdict.GOOD.label})
    last = _series(Metric.LAST_OBSERVATION_SECONDS, labels)
    cases = [
        ("silent where a week ago there was traffic", {total: f"0+500x{steps}", last: f"{stops}+0x{steps}"}, True),
        ("still arriving", {total: f"0+500x{steps}", last: f"{begins}+300x{steps}"}, False),
        ("silent as a week ago", {total: f"0+0x{steps}", last: f"{stops}+0x{steps}"}, False),
    ]
    at = f"{_WEEK_HOURS + 2}h"
    expected: Firing = {("CxgaugeNoData", "critical", step)}
    tests = [_case(name, series, at, expected if fires else set(), "5m") for name, series, fires in cases]
    return _file(rule_file, "1h", tests, flow, start)


def ruler_tests(rule_file: str, start: int | None = None) -> TestFile:
    """Cases for the alerts on the ruler's own health: all well, and each thing wrong by itself."""
    reason = {Label.REASON: "buffer_full", "instance": "a"}
    source = {Label.FLOW: "", Label.STEP: "source", Label.SEVERITY: "critical", Label.STATE: "firing"}
    other = _series(Metric.DIMENSION_OTHER_TOTAL, {Label.DIMENSION: "bill.app_version"})
    well = {
        _series(Metric.BUILD_INFO, {}): "1x30",
        _series(Metric.HEALTH_READABLE, {}): "1x30",
        _series(Metric.DROPPED_TOTAL, reason): "5x30",
        _series(Metric.WRITER_LAG_SECONDS, {}): "1x30",
        _series(Metric.WRITER_FAILURES_TOTAL, {}): "2x30",
        _series(Metric.SPOOL_BYTES, {}): "100x30",
        _series(Metric.SPOOL_LIMIT_BYTES, {}): "1000x30",
        _series(Metric.EVALUATION_LAG_SECONDS, {}): "60x30",
        _series(Metric.PUSH_LAG_SECONDS, {}): "15x30",
        _series(Metric.MESSAGES_TOTAL, {Label.NOTIFIER: "chat", Label.OUTCOME: "given_up"}): "1x30",
        _series(Metric.MESSAGES_TOTAL, {Label.NOTIFIER: "chat", Label.OUTCOME: "put_off"}): "0+1x30",
        _series(Metric.MESSAGES_TOTAL, {Label.NOTIFIER: "chat", Label.OUTCOME: "delivered"}): "0+1x30",
    }
    wrong = (
        ("CxgaugeDown", "critical", "", _series(Metric.BUILD_INFO, {}), "_x30"),
        ("CxgaugeHealthUnreadable", "warning", "", _series(Metric.HEALTH_READABLE, {}), "0x30"),
        ("CxgaugeObservationsDropped", "warning", "", _series(Metric.DROPPED_TOTAL, reason), "0+1x30"),
        ("CxgaugeWriterLagging", "warning", "", _series(Metric.WRITER_LAG_SECONDS, {}), "300x30"),
        ("CxgaugeWriterFailing", "warning", "", _series(Metric.WRITER_FAILURES_TOTAL, {}), "0+1x30"),
        ("CxgaugeSpoolFilling", "critical", "", _series(Metric.SPOOL_BYTES, {}), "900x30"),
        ("CxgaugeEvaluationLate", "critical", "", _series(Metric.EVALUATION_LAG_SECONDS, {}), "400x30"),
        (
            "CxgaugeMessagesGivenUp",
            "critical",
            "",
            _series(Metric.MESSAGES_TOTAL, {Label.NOTIFIER: "chat", Label.OUTCOME: "given_up"}),
            "1x15 2x15",
        ),
        (
            "CxgaugeMessagesStuck",
            "warning",
            "",
            _series(Metric.MESSAGES_TOTAL, {Label.NOTIFIER: "chat", Label.OUTCOME: "delivered"}),
            "5x30",
        ),
        ("CxgaugeDimensionOverflow", "warning", "", other, "0+1x30"),
        ("CxgaugeDimensionOverflow", "warning", "", other, "_x20 9x10"),
        ("CxgaugePushLate", "warning", "", _series(Metric.PUSH_LAG_SECONDS, {}), "400x30"),
        ("CxgaugeRulerAlert", "critical", "source", _series(Metric.ALERT_STATE, source), "1x30"),
    )
    tests = [_case("all well", well, "25m", set())]
    for alert, severity, step, series, values in wrong:
        tests.append(_case(alert, {**well, series: values}, "25m", {(alert, severity, step)}))
    longer = {series: values.replace("x30", "x130") for series, values in well.items()}
    tests.append(_case("a dimension overflowed hours ago", {**longer, other: "9x130"}, "2h", set()))
    return _file(rule_file, "1m", tests, start=start)


def _budget_cases(flow: FlowSpec, step: StepSpec) -> Iterator[dict[str, Any]]:
    for objective in objectives(step):
        budget = 1 - objective.share
        verdict = _BAD_VERDICT[objective.name]
        for burn_rate in _BURN_RATES:
            bad = budget * burn_rate
            if bad <= 1:
                name = f"{step.name}: {objective.name} burns {burn_rate:g} times its budget, by {verdict.label} answers"
                series = _answers(flow, step, {verdict: bad}, _HOUR)
                yield _case(name, series, "1h", _expected(step, verdict, bad))
        few = _answers(flow, step, {verdict: 1.0}, _HOUR, per_minute=0.07)
        yield _case(f"{step.name}: all {verdict.label}, too few to say", few, "1h", set())
        yield _case(f"{step.name}: {verdict.label} for half an hour, long over", _over(flow, step, verdict), "4h", None)


def _expected(step: StepSpec, verdict: Verdict, bad: float) -> Firing:
    """What must fire when the share ``bad`` of all answers has ``verdict`` and the others are good."""
    hit = {
        Verdict.SLOW: {"timeliness", "good_answer"},
        Verdict.WRONG: {"accuracy", "good_answer"},
        Verdict.ERROR: {"good_answer"},
    }[verdict]
    return {
        (objective.alert, pair.severity, step.name)
        for objective in objectives(step)
        if objective.name in hit
        for pair in objective.pairs
        if bad > pair.threshold(objective.share)
    }


def _over(flow: FlowSpec, step: StepSpec, verdict: Verdict) -> dict[str, str]:
    """Half an hour of bad answers, then only good ones: pages have to stop."""
    stretches = ((verdict, 30), (Verdict.GOOD, 210))
    totals = {Verdict.GOOD: [0.0], verdict: [0.0]}
    timely = [0.0]
    for current, minutes in stretches:
        for _ in range(minutes):
            for each, values in totals.items():
                values.append(values[-1] + _PER_MINUTE * (each is current))
            timely.append(timely[-1] + _PER_MINUTE * (current in (Verdict.GOOD, Verdict.WRONG)))
    labels = {Label.FLOW: flow.name, Label.STEP: step.name}
    series = {
        _series(Metric.OBSERVATIONS_TOTAL, {**labels, Label.VERDICT: each.label}): " ".join(f"{v:g}" for v in values)
        for each, values in totals.items()
    }
    return {**series, _series(Metric.TIMELY_OBSERVATIONS_TOTAL, labels): " ".join(f"{v:g}" for v in timely)}


def _answers(
    flow: FlowSpec, step: StepSpec, bad: Mapping[Verdict, float], minutes: int, per_minute: float = _PER_MINUTE
) -> dict[str, str]:
    """Counters that grow steadily: ``bad`` are shares by verdict, the rest is good."""
    labels = {Label.FLOW: flow.name, Label.STEP: step.name}
    shares = {**bad, Verdict.GOOD: 1 - sum(bad.values())}
    timely = sum(share for verdict, share in shares.items() if verdict in (Verdict.GOOD, Verdict.WRONG))
    series = {
        _series(Metric.OBSERVATIONS_TOTAL, {**labels, Label.VERDICT: verdict.label}): _growing(
            per_minute * share, minutes
        )
        for verdict, share in shares.items()
    }
    return {**series, _series(Metric.TIMELY_OBSERVATIONS_TOTAL, labels): _growing(per_minute * timely, minutes)}


def _deviation_cases(flow: FlowSpec) -> Iterator[dict[str, Any]]:
    step = flow.steps[0].name
    scope = {Label.FLOW: flow.name, Label.STEP: step, Label.KIND: "slower", Label.CHECK: ""}
    effect = _series(Metric.DEVIATION_EFFECT_RATIO, scope)

    def state(of: str, severity: str, kind: str = "slower") -> str:
        return _series(Metric.ALERT_STATE, {**scope, Label.KIND: kind, Label.SEVERITY: severity, Label.STATE: of})

    for severity in ("info", "warning", "critical"):
        name = f"a deviation of severity {severity}"
        series = {effect: "1.2x30", state("firing", severity): "1x30"}
        yield _case(name, series, "20m", {("CxgaugeBaselineDeviation", severity, step)})
    series = {effect: "1.2x30", state("pending", "warning"): "1x30"}
    yield _case("a deviation that is held back", series, "20m", set())
    series = {effect: "1.2x12 stale", state("firing", "warning"): "1x12 stale"}
    yield _case("a deviation that is over", series, "30m", set())
    series = {state("firing", "warning", "silent"): "1x30"}
    yield _case("silence found by the detector", series, "20m", {("CxgaugeNoData", "critical", step)})


def _case(name: str, series: Mapping[str, str], at: str, firing: Firing | None, interval: str = "1m") -> dict[str, Any]:
    """A test that at ``at`` exactly ``firing`` fires; ``None``: that nothing critical does."""
    by = f"{Label.STEP}, {Label.SEVERITY}, alertname"
    critical = f'{Label.SEVERITY}="critical",' if firing is None else ""
    samples = [
        {"labels": _labels({"alertname": alert, Label.SEVERITY: severity, Label.STEP: step}), "value": 1}
        for alert, severity, step in sorted(firing or ())
    ]
    return {
        "name": name,
        "interval": interval,
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count by ({by}) (ALERTS{{{critical}alertstate="firing"}})',
                "eval_time": at,
                "exp_samples": samples,
            }
        ],
    }


def _file(
    rule_file: str,
    evaluation_interval: str,
    tests: Iterable[dict[str, Any]],
    flow: FlowSpec | None = None,
    start: int | None = None,
) -> TestFile:
    # Alerts read what is recorded: with evaluations further apart than the look-back of five minutes, the order counts.
    order = [] if flow is None else [group["name"] for group in flow_rules(flow)["groups"]]
    began = {} if start is None else {"start_timestamp": f"{datetime.fromtimestamp(start, UTC):%Y-%m-%dT%H:%M:%SZ}"}
    return {
        "rule_files": [rule_file],
        "evaluation_interval": evaluation_interval,
        **({"group_eval_order": order} if order else {}),
        "tests": [{"name": test["name"], **began, **test} for test in tests],
    }


def _growing(step: float, count: int) -> str:
    return f"0+{step:.12g}x{count}"


def _series(name: str, labels: Mapping[str, str]) -> str:
    return name + _labels(labels)


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels.items() if value) + "}"

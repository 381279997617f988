"""Prometheus rules from the flow specification: what is recorded, and what alerts.

Budget alerts are multi-window, multi-burn-rate (Google, The Site Reliability Workbook, chapter 5,
https://sre.google/workbook/alerting-on-slos/, table 5-8 and the pair of 1 d and 2 h of its listing): a burn rate of 1
uses up the error budget of 30 days in 30 days; the long window shows that a real part of it is gone, the short
one that it still goes on. A pair whose threshold would be 1 or more can never be exceeded and is left out: at an
objective of 0.9 only burn rates below 10 exist.

Three promises are watched per step: *timeliness* (answered within the target; a timeout is not), *accuracy* (of the
answered, neither wrong nor incomplete nor stale) and *good answer* (fast, right and complete, of all).

Rules only read what ``dashboards.exposition`` writes. They do not find small shifts: that is the detector's
work, whose findings arrive as gauges and are alerted on here so that Alertmanager can route them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...metrics.names import Label, Metric
from ...metrics.specification.flow import FlowSpec, StepSpec

__all__ = ["BURN_PAIRS", "BurnPair", "Objective", "Rule", "flow_rules", "objectives", "ruler_rules"]

Rule = dict[str, Any]
"""One rule as Prometheus' rule files have it."""

WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21_600, "1d": 86_400, "3d": 259_200}
_WHAT = "{{ $labels.kind }}{{ with $labels.check }} ({{ . }}){{ end }}"
_VALUE = "{{ $value | printf `%.2f` }}"
_BAD_ANSWERS = 10
"""Fewer bad answers than this in the long window alert nobody: a burn rate of so few says nothing."""
_SILENT_SECONDS = 900
_SILENT_ANSWERS = 30
"""No data alerts where, a week ago at this time, at least so many answers came in as long a time."""


@dataclass(frozen=True, slots=True)
class BurnPair:
    """A long and a short window, the burn rate that both must exceed, and how loud that is."""

    long: str
    short: str
    burn_rate: float
    severity: str

    def threshold(self, objective: float) -> float:
        """Share of bad answers above which the budget burns at this rate."""
        return round(self.burn_rate * (1 - objective), 12)


BURN_PAIRS = (
    BurnPair("1h", "5m", 14.4, "critical"),  # 2 % of the budget in an hour
    BurnPair("6h", "30m", 6.0, "critical"),  # 5 % in six hours
    BurnPair("1d", "2h", 3.0, "warning"),  # 10 % in a day
    BurnPair("3d", "6h", 1.0, "warning"),  # 10 % in three days
)


@dataclass(frozen=True, slots=True)
class Objective:
    """One promise of a step: its names, the share promised, and the words for it."""

    name: str
    alert: str
    share: float
    bad: str
    bad_zh: str

    @property
    def pairs(self) -> tuple[BurnPair, ...]:
        """The pairs that can be exceeded at all."""
        return tuple(pair for pair in BURN_PAIRS if pair.threshold(self.share) < 1)


def objectives(step: StepSpec) -> tuple[Objective, ...]:
    """The promises of ``step``; accuracy only where there are checks."""
    late = Objective(
        "timeliness", "CxgaugeTimelinessBudgetBurn", step.timeliness.objective, "late answers", "超时效回答"
    )
    inaccurate = Objective(
        "accuracy", "CxgaugeAccuracyBudgetBurn", step.accuracy_objective, "inaccurate answers", "不准确回答"
    )
    bad = Objective(
        "good_answer", "CxgaugeGoodAnswerBudgetBurn", step.good_objective, "answers that are not good", "非优质回答"
    )
    return (late, inaccurate, bad) if step.checks else (late, bad)


def flow_rules(flow: FlowSpec) -> dict[str, Any]:
    """The rule file of one flow: recorded rates and ratios, budget alerts, deviations, no data."""
    name = f"cxgauge_{flow.name}"
    return {
        "groups": [
            {"name": f"{name}_recorded", "rules": list(_recorded(flow))},
            {"name": f"{name}_budgets", "rules": [rule for step in flow.steps for rule in _budget_alerts(flow, step)]},
            {"name": f"{name}_deviations", "rules": list(_deviation_alerts(flow))},
        ]
    }


def ruler_rules() -> dict[str, Any]:
    """The rule file of the ruler's own health."""
    return {"groups": [{"name": "cxgauge_ruler", "rules": list(_health_alerts())}]}


def _recorded(flow: FlowSpec) -> Iterator[Rule]:
    by = f"sum by ({Label.FLOW}, {Label.STEP})"
    all_of = f'{{{Label.FLOW}="{flow.name}"}}'
    answered = f'{{{Label.FLOW}="{flow.name}",{Label.VERDICT}=~"good|slow|stale|incomplete|wrong"}}'
    expected = f'{{{Label.FLOW}="{flow.name}",{Label.VERDICT}!~"abandoned|error"}}'
    good = f'{{{Label.FLOW}="{flow.name}",{Label.VERDICT}="good"}}'
    inaccurate = f'{{{Label.FLOW}="{flow.name}",{Label.VERDICT}=~"wrong|incomplete|stale"}}'
    total, timely = Metric.OBSERVATIONS_TOTAL, Metric.TIMELY_OBSERVATIONS_TOTAL
    for window in WINDOWS:
        yield _record(_rate_name("observations", window), f"{by} (rate({total}{all_of}[{window}]))")
        late = f"1 - {by} (rate({timely}{all_of}[{window}])) / ({by} (rate({total}{expected}[{window}])) > 0)"
        yield _record(_ratio_name("timeliness", window), late)
        wrong = f"{by} (rate({total}{inaccurate}[{window}])) / ({by} (rate({total}{answered}[{window}])) > 0)"
        yield _record(_ratio_name("accuracy", window), wrong)
        bad = f"1 - {by} (rate({total}{good}[{window}])) / ({by} (rate({total}{all_of}[{window}])) > 0)"
        yield _record(_ratio_name("good_answer", window), bad)


def _budget_alerts(flow: FlowSpec, step: StepSpec) -> Iterator[Rule]:
    this = f'{{{Label.FLOW}="{flow.name}",{Label.STEP}="{step.name}"}}'
    for objective in objectives(step):
        for severity in ("critical", "warning"):
            pairs = [pair for pair in objective.pairs if pair.severity == severity]
            if not pairs:
                continue
            expression = "\nor\n".join(_burns(objective, pair, this) for pair in pairs)
            labels = _labels(flow, step, severity, kind=f"{objective.name}_budget")
            budget = f"{100 * (1 - objective.share):g} %"
            yield {
                "alert": objective.alert,
                "expr": expression,
                "labels": labels,
                "annotations": _annotations(
                    flow,
                    step,
                    f"{{{{ $value | humanizePercentage }}}} {objective.bad}; {budget} are allowed",
                    f"{objective.bad_zh}占 {{{{ $value | humanizePercentage }}}},允许 {budget}",
                ),
            }


def _burns(objective: Objective, pair: BurnPair, this: str) -> str:
    threshold = f"{pair.threshold(objective.share):.12g}"
    long, short = (f"{_ratio_name(objective.name, window)}{this}" for window in (pair.long, pair.short))
    enough = f"{long} * {_rate_name('observations', pair.long)}{this} * {WINDOWS[pair.long]} >= {_BAD_ANSWERS}"
    return f"({long} > {threshold} and {short} > {threshold} and {enough})"


def _deviation_alerts(flow: FlowSpec) -> Iterator[Rule]:
    scope = f"{Label.FLOW}, {Label.STEP}, {Label.KIND}, {Label.CHECK}"
    firing = f'{Label.FLOW}="{flow.name}",{Label.STATE}="firing"'
    for severity in ("info", "warning", "critical"):
        states = (
            f'max by ({scope}) ({Metric.ALERT_STATE}{{{firing},{Label.SEVERITY}="{severity}",{Label.KIND}!="silent"}})'
        )
        effect = f'max by ({scope}) ({Metric.DEVIATION_EFFECT_RATIO}{{{Label.FLOW}="{flow.name}"}})'
        yield {
            "alert": "CxgaugeBaselineDeviation",
            "expr": f"{effect} and on ({scope}) {states} == 1",
            "labels": _labels(flow, None, severity),
            "annotations": _annotations(
                flow,
                None,
                f"{_WHAT}, {_VALUE} times the baseline",
                f"{_WHAT},为基线的 {_VALUE} 倍",
            ),
        }
    silent = f'max by ({Label.FLOW}, {Label.STEP}) ({Metric.ALERT_STATE}{{{firing},{Label.KIND}="silent"}}) == 1'
    last = f'max by ({Label.FLOW}, {Label.STEP}) ({Metric.LAST_OBSERVATION_SECONDS}{{{Label.FLOW}="{flow.name}"}})'
    a_week_ago = f'{_rate_name("observations", "1h")}{{{Label.FLOW}="{flow.name}"}} offset 1w'
    missing = f"time() - {last} > {_SILENT_SECONDS} and {a_week_ago} * {_SILENT_SECONDS} >= {_SILENT_ANSWERS}"
    yield {
        "alert": "CxgaugeNoData",
        "expr": f"({missing})\nor\n({silent})",
        "for": "1m",
        "labels": _labels(flow, None, "critical", kind="silent"),
        "annotations": _annotations(
            flow, None, "no observations arrive, although some are expected", "没有收到观测数据,而此时应当有"
        ),
    }


def _health_alerts() -> Iterator[Rule]:
    dropped = f"sum by (instance, {Label.REASON}) (increase({Metric.DROPPED_TOTAL}[10m])) > 0"
    ruler = f'{Metric.ALERT_STATE}{{{Label.FLOW}="",{Label.STATE}="firing"}}'
    yield _health(
        ("CxgaugeDown", f"absent({Metric.BUILD_INFO})", "5m", "critical"),
        "cxgauge is not scraped: nothing is measured",
        "抓取不到 cxgauge:没有任何测量",
    )
    yield _health(
        ("CxgaugeHealthUnreadable", f"{Metric.HEALTH_READABLE} == 0", "5m", "warning"),
        "cxgauge cannot read its own health; see its log",
        "cxgauge 无法读取自身状态,请查看日志",
    )
    yield _health(
        ("CxgaugeObservationsDropped", dropped, None, "warning"),
        "{{ $value | printf `%.0f` }} observations dropped in ten minutes: {{ $labels.reason }}",
        "十分钟内丢弃 {{ $value | printf `%.0f` }} 条观测:{{ $labels.reason }}",
    )
    yield _health(
        ("CxgaugeWriterLagging", f"{Metric.WRITER_LAG_SECONDS} > 120", "5m", "warning"),
        "observations wait {{ $value | humanizeDuration }} to be written",
        "观测等待写入已达 {{ $value | humanizeDuration }}",
    )
    yield _health(
        ("CxgaugeWriterFailing", f"increase({Metric.WRITER_FAILURES_TOTAL}[10m]) > 3", "5m", "warning"),
        "writes to the database fail",
        "数据库写入失败",
    )
    yield _health(
        ("CxgaugeSpoolFilling", f"{Metric.SPOOL_BYTES} / {Metric.SPOOL_LIMIT_BYTES} > 0.8", "5m", "critical"),
        "the spool is {{ $value | humanizePercentage }} full",
        "缓冲目录已用 {{ $value | humanizePercentage }}",
    )
    yield _health(
        ("CxgaugeEvaluationLate", f"{Metric.EVALUATION_LAG_SECONDS} > 300", "5m", "critical"),
        "the newest window judged is {{ $value | humanizeDuration }} old",
        "最近一次评估的窗口已是 {{ $value | humanizeDuration }} 之前",
    )
    other = Metric.DIMENSION_OTHER_TOTAL
    appeared = (
        f"sum by ({Label.DIMENSION}) ({other} unless {other} offset 1h)"  # a counter is not there before it counts
    )
    yield _health(
        (
            "CxgaugeDimensionOverflow",
            f"sum by ({Label.DIMENSION}) (increase({other}[1h])) > 0 or {appeared} > 0",
            None,
            "warning",
        ),
        "{{ $labels.dimension }} has more values than its limit: {{ $value | printf `%.0f` }} observations in an hour "
        "count as other; raise the limit, list the values, or send fewer",
        "{{ $labels.dimension }} 的取值超过上限:一小时内 {{ $value | printf `%.0f` }} 条观测归入 other;"
        "请调高上限、列出取值,或减少取值",
    )
    given_up = f'increase({Metric.MESSAGES_TOTAL}{{{Label.OUTCOME}="given_up"}}[1h])'
    put_off = f'increase({Metric.MESSAGES_TOTAL}{{{Label.OUTCOME}="put_off"}}[15m])'
    delivered = f'increase({Metric.MESSAGES_TOTAL}{{{Label.OUTCOME}="delivered"}}[15m])'
    yield _health(
        ("CxgaugeMessagesGivenUp", f"sum by ({Label.NOTIFIER}) ({given_up}) > 0", None, "critical"),
        "messages by {{ $labels.notifier }} were given up; why: cxgauge notify status",
        "{{ $labels.notifier }} 的消息已放弃发送,原因见 cxgauge notify status",
    )
    yield _health(
        (
            "CxgaugeMessagesStuck",
            f"sum by ({Label.NOTIFIER}) ({put_off}) > 0 unless sum by ({Label.NOTIFIER}) ({delivered}) > 0",
            "15m",
            "warning",
        ),
        "messages by {{ $labels.notifier }} do not arrive; why: cxgauge notify status",
        "{{ $labels.notifier }} 的消息一直未能送达,原因见 cxgauge notify status",
    )
    yield _health(
        ("CxgaugePushLate", f"{Metric.PUSH_LAG_SECONDS} > 300", "5m", "warning"),
        "native histograms were last pushed {{ $value | humanizeDuration }} ago; see cxgauge's log",
        "原生直方图最近一次推送成功已是 {{ $value | humanizeDuration }} 之前,请查看 cxgauge 日志",
    )
    yield _health(
        ("CxgaugeRulerAlert", f"max by ({Label.STEP}) ({ruler}) == 1", None, "critical"),
        "the ruler itself: {{ $labels.step }}",
        "测量系统自身:{{ $labels.step }}",
    )


def _health(alert: tuple[str, str, str | None, str], text: str, text_zh: str) -> Rule:
    name, expression, hold, severity = alert
    return {
        "alert": name,
        "expr": expression,
        **({} if hold is None else {"for": hold}),
        "labels": {Label.SEVERITY: severity, Label.KIND: "ruler"},
        "annotations": {"summary": text, "summary_zh": text_zh},
    }


def _record(name: str, expression: str) -> Rule:
    return {"record": name, "expr": expression}


def _rate_name(what: str, window: str) -> str:
    return f"flow_step:cxgauge_{what}:rate{window}"


def _ratio_name(objective: str, window: str) -> str:
    return f"flow_step:cxgauge_{objective}_errors:ratio_rate{window}"


def _labels(flow: FlowSpec, step: StepSpec | None, severity: str, kind: str | None = None) -> Mapping[str, str]:
    owner = (step.alerts.owner if step and step.alerts else None) or flow.alerts.owner or flow.owner
    labels = {Label.SEVERITY: severity, Label.OWNER: owner}
    if step is not None:
        labels |= {Label.FLOW: flow.name, Label.STEP: step.name}
    return labels if kind is None else {**labels, Label.KIND: kind}


def _annotations(flow: FlowSpec, step: StepSpec | None, text: str, text_zh: str) -> Mapping[str, str]:
    english, chinese = (_place(flow, step, language) for language in ("en", "zh"))
    annotations = {"summary": f"{english}: {text}", "summary_zh": f"{chinese}:{text_zh}"}
    runbook = (step.alerts.runbook if step and step.alerts else None) or flow.alerts.runbook
    return annotations if runbook is None else {**annotations, "runbook_url": _literal(runbook)}


def _place(flow: FlowSpec, step: StepSpec | None, language: str) -> str:
    titles: Iterable[str]
    if step is None:
        return f"{_literal(_title(flow, language))}{{{{ with $labels.step }}}} / {{{{ . }}}}{{{{ end }}}}"
    titles = (_title(flow, language), _title(step, language))
    return _literal(" / ".join(titles))


def _title(named: FlowSpec | StepSpec, language: str) -> str:
    return named.title.en if language == "en" else named.title.zh


def _literal(text: str) -> str:
    """``text`` as it is, in a Prometheus template."""
    return text.replace("{{", '{{ "{{" }}')

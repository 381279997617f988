"""What alerts say, against golden files that people have read."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cxgauge.alerts.alert import Alert, AlertState, NearbyEvent, Resolution, SizeAt
from cxgauge.alerts.attribution import Attribution, Concentration
from cxgauge.alerts.figures import Figures
from cxgauge.alerts.impact import Impact
from cxgauge.alerts.message import Event, Link, compose, html, message_from_json, message_to_json, plain
from cxgauge.alerts.text import alert_text, headline
from cxgauge.alerts.titles import Titles
from cxgauge.metrics.deviation import Deviation, DeviationKind
from cxgauge.metrics.verdict import Verdict

NOW = 1_767_235_500.0
MakeDeviation = Callable[..., Deviation]
Fire = Callable[..., Alert]

SURE = {"statistic": 14.2, "threshold": 8.1}
NOTHING: dict[str, Any] = {"kind": "silent", "before": 52.0, "after": 0.0, "observations": 0, "ratio": 1e-6}
RARE: dict[str, Any] = {"kind": "failing", "step": "details", "before": 0.001, "after": 0.0031, "ratio": 3.1}
GATEWAY: dict[str, Any] = {"kind": "silent", "flow": "", "step": "source", "dimensions": [("name", "gateway-1")]}
CASES: dict[str, dict[str, Any]] = {
    "slower": {},
    "slower_for_some": {"dimensions": [("region", "north")]},
    "slower_flow": {"step": None},
    "tail": {"kind": "tail", "before": 0.05, "after": 0.091, "ratio": 1.82, "evidence": {**SURE, "quantile": 0.95}},
    "failing_verdict": {**RARE, "check": "verdict:incomplete"},
    "failing_check": {**RARE, "check": "details_present"},
    "failing": {"kind": "failing", "before": 0.01, "after": 0.015, "ratio": 1.5},
    "failing_mostly": {**RARE, "evidence": {**SURE, "dominant_verdict": 4.0}},
    "silent": {
        "kind": "silent",
        "before": 52.0,
        "after": 0.0,
        "observations": 0,
        "ratio": 1e-6,
        "evidence": {"missing": 57.0},
    },
    "source_silent": {**GATEWAY, "before": 52.0, "after": 0.0, "evidence": {}},
    "evaluation_late": {"kind": "silent", "flow": "", "step": "evaluation", "evidence": {}},
}


def render(alert: Alert, titles: Titles, figures: Figures, event: Event = Event.FIRING, now: float = NOW) -> str:
    return plain(
        compose(alert, event, titles, figures, now, (Link("Report", "https://cx.example/reports/bill_inquiry"),))
    )


@pytest.mark.parametrize("name", CASES)
def test_what_a_firing_alert_says(
    name: str,
    deviation: MakeDeviation,
    fired: Fire,
    titles: Titles,
    figures: Figures,
    golden: Callable[[str, str], None],
) -> None:
    golden(f"{name}.{figures.language}.txt", render(fired(deviation(**CASES[name])), titles, figures))


@pytest.mark.parametrize(
    "name", ["slower", "slower_for_some", "silent", "source_silent", "evaluation_late", "failing_check"]
)
def test_what_a_resolved_alert_says(
    name: str,
    deviation: MakeDeviation,
    fired: Fire,
    titles: Titles,
    figures: Figures,
    golden: Callable[[str, str], None],
) -> None:
    alert = fired(deviation(**CASES[name]))
    over = replace(alert, state=AlertState.RESOLVED, resolved_at=NOW + 1500, resolution=Resolution.RECOVERED)
    golden(f"{name}_resolved.{figures.language}.txt", render(over, titles, figures, Event.RESOLVED, NOW + 1500))


@pytest.mark.parametrize("by", ["Wang Li", None])
def test_what_an_accepted_alert_says(
    by: str | None, deviation: MakeDeviation, fired: Fire, titles: Titles, figures: Figures,
    golden: Callable[[str, str], None],
) -> None:  # fmt: skip
    over = replace(
        fired(deviation()),
        state=AlertState.RESOLVED,
        resolved_at=NOW + 1500,
        resolution=Resolution.ACCEPTED,
        accepted_by=by,
    )
    name = "accepted" if by else "rebased"
    golden(f"{name}.{figures.language}.txt", render(over, titles, figures, Event.RESOLVED, NOW + 1500))


@pytest.fixture
def full(deviation: MakeDeviation, fired: Fire, attribution: Attribution, impact: Impact) -> Alert:
    others = [deviation(step="details", dimensions=[("region", f"r{index}")]) for index in range(8)]
    alert = fired(deviation(), *others)
    nearby = (
        NearbyEvent(NOW - 360, "deployment", "app 8.2.0"),
        NearbyEvent(NOW - 60, "configuration", "pool size 40"),
        NearbyEvent(NOW - 90_000, "campaign", "spring offer", NOW + 60),
        NearbyEvent(NOW - 38_700, "holiday", "元旦", NOW + 47_700),
        NearbyEvent(NOW - 38_700, "payday", "", NOW + 47_700),
    )
    return replace(
        alert,
        nearby=nearby,
        attribution=attribution,
        impact=impact,
        assignee="li",
        acknowledged_by="wang",
        acknowledged_at=NOW + 60,
    )


def test_everything_that_is_known_is_said(
    full: Alert, titles: Titles, figures: Figures, golden: Callable[[str, str], None]
) -> None:
    golden(f"full.{figures.language}.txt", render(full, titles, figures))


def test_the_mail(full: Alert, titles: Titles, figures: Figures, golden: Callable[[str, str], None]) -> None:
    message = compose(full, Event.FIRING, titles, figures, NOW, (Link("Report", "https://cx.example/r?a=1&b=2"),))
    golden(f"full.{figures.language}.html", html(message, {"trend": "cid:trend"}))


def test_the_json_form(
    full: Alert, titles: Titles, figures: Figures, golden: Callable[[str, dict[str, Any]], None]
) -> None:
    message = compose(full, Event.FIRING, titles, figures, NOW, (Link("Report", "https://cx.example/r"),))
    golden(f"full.{figures.language}.json", message.data)


def test_the_short_form_is_one_sentence(full: Alert, titles: Titles, figures: Figures) -> None:
    short = {
        "en": "Bill inquiry got slower at *Total* since 10:42: 1.00 → 1.19 s (+19 %, 18–20 %), 3,412 observations; "
        "worst: app_version=8.2.0 (+35 %, 81 % of the change)",
        "zh": "“账单查询”的“账单总额”自 10:42 起变慢：1.00 → 1.19 秒（+19%，95% 置信区间 18%～20%），"
        "依据 3,412 次观测；影响最重的是 app_version=8.2.0（+35%，占变化的 81%）",
    }
    assert alert_text(full, titles, figures, NOW).short == short[figures.language]


@pytest.mark.parametrize(
    ("concentration", "en", "zh"),
    [
        (Concentration.EVERYONE, "; everyone alike", "；各类客户受影响程度相同"),
        (Concentration.UNKNOWN, "3,412 observations", "依据 3,412 次观测"),
    ],
)
def test_who_is_hit_when_nobody_stands_out(
    full: Alert, titles: Titles, figures: Figures, concentration: Concentration, en: str, zh: str
) -> None:
    alert = replace(full, attribution=Attribution(concentration, 0.17, 0.17, 0.0))
    assert alert_text(alert, titles, figures, NOW).short.endswith({"en": en, "zh": zh}[figures.language])


def test_an_alert_about_some_says_how_much_of_the_whole_they_are(
    deviation: MakeDeviation, fired: Fire, attribution: Attribution, titles: Titles, figures: Figures
) -> None:
    alert = replace(fired(deviation(dimensions=[("app_version", "8.2.0")])), attribution=attribution)
    end = {"en": "; 81 % of the change of the whole step", "zh": "；占整个环节变化的 81%"}
    assert alert_text(alert, titles, figures, NOW).short.endswith(end[figures.language])
    alike = replace(alert, attribution=Attribution(Concentration.EVERYONE, 0.17, 0.17, 0.0))
    end = {"en": "3,412 observations", "zh": "依据 3,412 次观测"}
    assert alert_text(alike, titles, figures, NOW).short.endswith(end[figures.language])


@pytest.mark.parametrize("kind", DeviationKind)
def test_every_kind_has_a_sentence_in_both_languages(
    kind: DeviationKind, deviation: MakeDeviation, titles: Titles, figures: Figures
) -> None:
    sentence = headline(deviation(kind.value), titles, figures, NOW)
    assert "10:42" in sentence
    assert ("账单查询" if figures.language == "zh" else "Bill inquiry") in sentence


def test_an_unknown_flow_is_called_by_its_name(deviation: MakeDeviation, figures: Figures) -> None:
    assert "bill_inquiry" in headline(deviation(), Titles(), figures, NOW)


def test_titles_cannot_inject_markup_or_formatting(deviation: MakeDeviation, fired: Fire, figures: Figures) -> None:
    alert = fired(deviation(flow="{evil}", step="<script>alert(1)</script>"))
    message = compose(alert, Event.FIRING, Titles(), figures, NOW)
    assert "{evil}" in message.short
    assert "<script>" not in html(message)
    assert "&lt;script&gt;" in html(message)


def test_a_message_survives_the_outbox(full: Alert, titles: Titles, figures: Figures) -> None:
    message = compose(full, Event.FIRING, titles, figures, NOW, (Link("Report", "https://cx.example/r"),))
    assert message_from_json(message_to_json(message)) == message


def test_the_same_thing_at_the_same_place_is_said_once(
    deviation: MakeDeviation, fired: Fire, titles: Titles, figures: Figures
) -> None:
    incomplete = {"dominant_verdict": float(Verdict.INCOMPLETE)}
    lead = deviation("failing", step="details", check="details_present")
    others = [
        deviation("failing", step="details", check=None, evidence=incomplete),
        deviation("failing", step="details", check="verdict:incomplete"),
        deviation("failing", step=None, check=None, evidence=incomplete),
    ]
    text = alert_text(fired(lead, *others), titles, figures, NOW)
    (same,) = [fact.value for fact in text.facts if fact.label in {"Same cause", "同一原因的其他表现"}]
    phrase = "incomplete answers" if figures.language == "en" else "缺失明细"
    assert same.count(phrase) == 2  # of the step, and of the flow


def test_an_alert_estimated_anew_says_how_large_it_looked_at_first(
    deviation: MakeDeviation, fired: Fire, titles: Titles, figures: Figures, golden: Callable[[str, str], None]
) -> None:
    alert = fired(deviation())
    later = SizeAt(NOW + 900, math.log(1.15), math.log(1.13), math.log(1.17), 15_000)
    lead = replace(alert.members[0], deviation=deviation(ratio=1.15, observations=15_000))
    alert = replace(alert, members=(lead,), history=(*alert.history, later))
    golden(f"estimated_anew.{figures.language}.txt", render(alert, titles, figures))


def test_a_derived_step_says_what_raised_the_alarm(
    deviation: MakeDeviation, fired: Fire, titles: Titles, figures: Figures, golden: Callable[[str, str], None]
) -> None:
    alert = fired(deviation(evidence={"derived": 6.2}), deviation(step=None))
    golden(f"derived.{figures.language}.txt", render(alert, titles, figures))

"""Whatever little or odd data there are, a report can be made of them in every textual form, and says no nonsense."""

from __future__ import annotations

import json
import re

import jsonschema
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxgauge.dashboards.figure_types import Comparison, Period
from cxgauge.dashboards.figures import flow_figures
from cxgauge.dashboards.report.html import report_html
from cxgauge.dashboards.report.json import report_json, report_schema
from cxgauge.dashboards.report.markdown import report_markdown
from cxgauge.dashboards.report.report import compose_report
from cxgauge.dashboards.report.table import report_csv
from cxgauge.dashboards.report.workbook import report_xlsx
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source, check_bits
from cxgauge.metrics.rollup import Rollup, roll_up
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.verdict import CheckResult, Verdict

DAY = 86_400.0
TODAY = Period(1_773_417_600.0, 1_773_417_600.0 + DAY)
BEFORE = Comparison("previous", Period(TODAY.start - DAY, TODAY.start), ("other_weekdays",))
KEYS = {
    0: SeriesKey("bill_inquiry", "log_in", (("channel", "app"),)),
    1: SeriesKey("bill_inquiry", "bill_total", (("channel", "app"),), ("details_present",)),
    2: SeriesKey("bill_inquiry", "bill_total", (("channel", "web"),), ("details_present",)),
}
SCHEMA = report_schema()
NONSENSE = re.compile(r"\b(nan|inf|None|Infinity)\b|\{\w+\}")

GivenDay = tuple[list[tuple[float, float, int, Verdict, Source, CheckResult]], int]

observation = st.tuples(
    st.floats(0, DAY - 1),
    st.sampled_from([0.0, 1e-6, 0.0004, 0.9, 1.0, 1.02, 59.0, 86_400.0, float("nan"), float("inf"), -1.0]),
    st.integers(0, 2),
    st.sampled_from(list(Verdict)),
    st.sampled_from([Source.RECORDER, Source.PROBE, Source.SIMULATED]),
    st.sampled_from([CheckResult.PASS, CheckResult.FAIL, CheckResult.UNKNOWN]),
)
day = st.tuples(st.lists(observation, max_size=12), st.sampled_from([0, 1, 40]))


def _rollup(start: float, given_day: GivenDay) -> Rollup:
    rows, times = given_day
    records = np.zeros(len(rows) * (times + 1), dtype=RECORD)
    for place in range(len(records)):
        at, seconds, series, verdict, source, result = rows[place % len(rows)]
        records[place]["observed_at_us"] = int((start + (at + 977 * (place // len(rows))) % DAY) * 1e6)
        records[place]["duration_seconds"], records[place]["series"] = seconds, series
        records[place]["verdict"], records[place]["source"] = verdict, int(source)
        records[place]["checks"] = check_bits([result]) if series else 0
    records = records[np.argsort(records["observed_at_us"], kind="stable")]
    return roll_up(ObservationBatch(tuple(KEYS.values()), records), 60)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(day, day, st.sampled_from(["previous", "none"]), st.floats(0, DAY * 1.5))
def test_any_data_make_a_report_in_every_form(
    flow: FlowSpec, english: Wording, chinese: Wording, after: GivenDay, before: GivenDay, kind: str, elapsed: float
) -> None:
    compared = BEFORE if kind == "previous" else None
    rollups = [_rollup(start, one) for start, one in ((TODAY.start, after), (BEFORE.period.start, before))]
    now = TODAY.start + elapsed
    figures = flow_figures(flow, rollups[0], KEYS, TODAY, compared, rollups[1] if compared else None, now=now)
    for wording in (english, chinese):
        report = compose_report(flow, figures, [], [], wording, now=now)
        shown = re.sub(r"(?s)<style>.*?</style>", "", report_html(report, []))
        for text in (shown, report_markdown(report), report.headline.text, report_csv(report)):
            assert NONSENSE.search(text) is None, NONSENSE.search(text)
        jsonschema.validate(json.loads(report_json(report)), SCHEMA)
        assert report_xlsx(report).startswith(b"PK")
    lowest = [step.good_rate.low for step in figures.steps if step.good_rate.low is not None]
    assert all(0 <= low <= 1 for low in lowest)

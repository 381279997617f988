"""The table of open alerts, the same on every dashboard."""

from __future__ import annotations

from collections.abc import Iterable

from ...metrics.specification.flow import FlowSpec
from .frame import Wording
from .palette import BAD, FAIR, LINES
from .panels import Column, PanelBuilder, rows, sql
from .sql import SCHEMA, branches, case

__all__ = ["INTERVAL_TEXT", "open_alerts"]

INTERVAL_TEXT = "to_char(100 * (exp(effect_low) - 1), 'FMSG999990.0') || ' … ' || to_char(100 * (exp(effect_high) - 1), 'FMSG999990.0') || ' %'"
"""The 95 % interval of a deviation's effect, as SQL."""

_WHOLE_WIDTH = 24


def open_alerts(
    words: Wording, flows: Iterable[FlowSpec], flow: str, step: str = "NULL", width: int = 24, height: int = 7
) -> PanelBuilder:
    """Open alerts of a flow and step, given as SQL; NULL for all. ``flows`` say what people call them."""
    flows = list(flows)
    of_flows = {one.name: one.title.in_language(words.language) for one in flows}
    of_steps = {
        f"{one.name}/{each.name}": each.title.in_language(words.language) for one in flows for each in one.steps
    }
    shown_step = f"CASE a.flow || '/' || a.step {branches(of_steps)} ELSE a.step END"
    names = [
        words.text("Since"),
        words.text("Severity"),
        words.text("What"),
        words.text("Flow"),
        words.text("Step"),
        words.text("Check"),
        words.text("Change"),
        words.text("95 % interval"),
        words.text("Assignee"),
    ]
    since, severity, kind, of_flow, of_step, check, effect, interval, assignee = (f'"{name}"' for name in names)
    statement = (
        f"SELECT a.started_at AS {since}, {case('a.severity', words.severities())} AS {severity}, "
        f"{case('a.kind', words.kinds())} AS {kind}, {case('a.flow', of_flows)} AS {of_flow}, coalesce({shown_step}, '–') AS {of_step}, "
        f"coalesce(a.check_name, '–') AS {check}, exp(d.effect) - 1 AS {effect}, {INTERVAL_TEXT} AS {interval}, "
        f"coalesce(a.assignee, a.acknowledged_by, '–') AS {assignee} FROM {SCHEMA}.alerts AS a LEFT JOIN LATERAL ("
        f"SELECT * FROM {SCHEMA}.deviations AS d WHERE d.alert_id = a.alert_id ORDER BY d.detected_at DESC LIMIT 1"
        f") AS d ON d.effect BETWEEN -14 AND 14 WHERE a.state <> 'resolved' AND (a.flow = {flow} OR {flow} IS NULL) "
        f"AND (a.step IS NULL OR a.step = {step} OR {step} IS NULL) ORDER BY a.started_at DESC LIMIT 50"
    )
    text = words.text(
        "Alerts that are not over, newest first; the change is that of the deviation last reported, with its 95 % interval. "
        "Take one that nobody has, and open its flow. Empty is good."
    )
    steps = ((None, LINES[0]), (0, FAIR), (0.1, BAD))
    columns = {
        names[0]: Column("dateTimeAsIso", width=160),
        names[1]: Column(width=90),
        names[2]: Column(width=120),
        names[6]: Column("percentunit", 1, steps=steps, cell="background", width=90),
        names[7]: Column(width=150),
        names[8]: Column(width=100),
    }
    if width < _WHOLE_WIDTH:
        columns |= {name: Column(width=104) for name in names[3:6]}
    return rows(
        words.header(words.text("Open alerts"), text, width, height),
        sql(statement),
        columns,
        words.text("no open alerts"),
    )

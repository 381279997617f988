"""What every laid-out form of a report shows: the values that its templates fill in."""

from __future__ import annotations

from typing import Any

from ..quality_words import beside, quality_headings
from .conclusion_view import conclusion_notes, conclusion_rows
from .funnel_view import cost_lines, detectable_lines, funnel_notes, funnel_rows
from .report import Report
from .row_groups import grouped
from .view import (
    alert_rows,
    change_rows,
    comparison_notes,
    improvement_lines,
    method,
    mix_lines,
    not_compared,
    other_deviations,
    quality,
    quality_rows,
    too_few_steps,
)

__all__ = ["report_values"]


def report_values(report: Report) -> dict[str, Any]:
    """Rows and lines of a report for the templates of pages, HTML and Markdown."""
    return {
        "report": report,
        "conclusions": conclusion_rows(report),
        "grouped": grouped,
        "conclusion_notes": conclusion_notes(report),
        "changes": change_rows(report),
        "not_compared": not_compared(report),
        "too_few": too_few_steps(report),
        "notes": comparison_notes(report),
        "funnel": funnel_rows(report),
        "funnel_notes": funnel_notes(report),
        "cost": cost_lines(report),
        "detectable": detectable_lines(report),
        "alerts": alert_rows(report),
        "other_deviations": other_deviations(report),
        "mix_lines": mix_lines,
        "improvements": improvement_lines(report),
        "quality": quality(report),
        "quality_headings": quality_headings(report.wording),
        "quality_rows": quality_rows(report),
        "beside": beside,
        "method": method(report),
    }

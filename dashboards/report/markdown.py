"""The report as Markdown."""

from __future__ import annotations

import re

from ..rendering import render
from .report import Report
from .view import (
    alert_rows,
    change_rows,
    comparison_notes,
    improvement_lines,
    method,
    mix_lines,
    other_deviations,
    quality,
    too_few_steps,
)

__all__ = ["report_markdown"]


def report_markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    text = render(
        "report.md.j2",
        report.wording,
        report=report,
        changes=change_rows(report),
        too_few=too_few_steps(report),
        notes=comparison_notes(report),
        alerts=alert_rows(report),
        other_deviations=other_deviations(report),
        mix_lines=mix_lines,
        improvements=improvement_lines(report),
        quality=quality(report),
        method=method(report),
        has_checks=any(step.checks for step in report.figures.steps),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"

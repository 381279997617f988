"""The report as Markdown."""

from __future__ import annotations

import re

from ..rendering import render
from .layout import report_values
from .report import Report

__all__ = ["report_markdown"]


def report_markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    has_checks = any(step.checks for step in report.figures.steps)
    text = render("report.md.j2", report.wording, has_checks=has_checks, **report_values(report))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"

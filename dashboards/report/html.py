"""The report as one self-contained HTML file, and that file as PDF."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..rendering import render
from .layout import report_values
from .pictures import StepPictures, read_pictures
from .report import Report

__all__ = ["StepPictures", "read_pictures", "report_html"]

_STATIC = Path(__file__).parents[1] / "static"


@cache
def _styles() -> str:
    return (_STATIC / "pages.css").read_text("utf-8")


def report_html(report: Report, steps: list[StepPictures]) -> str:
    """The report as one HTML file that needs nothing else: styles and pictures are in it, and no script."""
    return render("report.html.j2", report.wording, steps=steps, styles=_styles(), script="", **report_values(report))

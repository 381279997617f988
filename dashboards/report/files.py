"""The report in any of its formats."""

from __future__ import annotations

from ...metrics.store.store import Store
from ..pdf import html_to_pdf
from .html import read_pictures, report_html, with_scripts
from .json import report_json
from .markdown import report_markdown
from .report import Report
from .table import report_csv
from .workbook import report_xlsx

__all__ = ["REPORT_TYPES", "render_report"]

REPORT_TYPES = {
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "json": "application/json",
}
"""Formats and their media types."""


def render_report(store: Store, report: Report, kind: str, *, wait_seconds: float = 300.0) -> str | bytes:
    """The report as a file of a format of :data:`REPORT_TYPES`; a PDF waits for others for ``wait_seconds`` at most.

    Raises:
        PdfBusyError: others are being printed.
        PdfError: there is no Chromium to print with, or it failed.
        ValueError: the format is not known, or a package it needs is not installed.
    """
    match kind:
        case "md":
            return report_markdown(report)
        case "json":
            return report_json(report)
        case "csv":
            return report_csv(report)
        case "xlsx":
            return report_xlsx(report)
        case "html":
            return with_scripts(report_html(report, read_pictures(store, report)))
        case "pdf":
            return html_to_pdf(report_html(report, read_pictures(store, report)), wait_seconds)
        case _:
            raise ValueError(f"format {kind!r} is not known; write one of {', '.join(REPORT_TYPES)}")

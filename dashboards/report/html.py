"""The report as one self-contained HTML file.

Figures and pictures are in it as text and SVG; nothing needs a script. With one, charts answer whoever points at them:
the library is in the file too, allowed by its hash and nothing else. What is kept or printed is kept without it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from ..rendering import render
from .layout import report_values
from .pictures import StepPictures, read_pictures
from .report import Report

__all__ = ["StepPictures", "read_pictures", "report_html", "with_scripts"]

_STATIC = Path(__file__).parents[1] / "static"
_POLICY_PLACE = "<!-- policy -->"
_SCRIPTS_PLACE = "<!-- scripts -->"


def report_html(report: Report, steps: list[StepPictures]) -> str:
    """The report as one HTML file that needs nothing else, without scripts; :func:`with_scripts` adds them."""
    return render("report.html.j2", report.wording, steps=steps, styles=_read("pages.css"), **report_values(report))


def with_scripts(html: str) -> str:
    """The file with the scripts in it that let people point at its charts, and the policy that allows just these."""
    scripts = [_read("echarts.common.min.js"), _read("charts.js")]
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}"
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    inside = "".join(f"<script>{script}</script>\n" for script in scripts)
    return html.replace(_POLICY_PLACE, meta, 1).replace(_SCRIPTS_PLACE, inside, 1)


@cache
def _read(name: str) -> str:
    return (_STATIC / name).read_text("utf-8")


@cache
def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

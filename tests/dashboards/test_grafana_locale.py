"""The Chinese catalogue of the Grafana dashboards is whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from babel.messages.extract import extract
from babel.messages.pofile import read_po

import cxgauge.dashboards.grafana

FOLDER = Path(cxgauge.dashboards.grafana.__file__).parent
KEYWORDS: Any = {"text": None}
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def test_nothing_is_untranslated_or_unused_and_no_placeholder_is_lost() -> None:
    used = set()
    for path in FOLDER.glob("*.py"):
        with path.open("rb") as file:
            used |= {message for _, message, _, _ in extract("python", file, keywords=KEYWORDS)}
    with (FOLDER / "locale/zh.po").open("rb") as file:
        known = {message.id: message.string for message in read_po(file) if message.id and message.string}
    assert len(used) > 100
    assert used ^ set(known) == set()
    for identity, text in known.items():
        assert sorted(PLACEHOLDER.findall(str(text))) == sorted(PLACEHOLDER.findall(str(identity))), identity

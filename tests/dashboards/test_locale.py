"""The Chinese catalogue is whole: nothing untranslated, nothing unused, no placeholder lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from babel.messages.extract import extract
from babel.messages.pofile import read_po

import cxgauge.dashboards

FOLDER = Path(cxgauge.dashboards.__file__).parent
KEYWORDS: Any = {"text": None, "plural": (1, 2)}
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _used() -> dict[str, str]:
    """Every string in code and templates, and where."""
    found: dict[str, str] = {}
    for pattern, method in (("*.py", "python"), ("templates/*.j2", "jinja2.ext:babel_extract")):
        for path in sorted(FOLDER.rglob(pattern)):
            if "grafana" in path.parts:  # has a catalogue of its own
                continue
            with path.open("rb") as file:
                for line, message, _, _ in extract(method, file, keywords=KEYWORDS):
                    found[message if isinstance(message, str) else message[0]] = f"{path.name}:{line}"
    return found


def _catalogue() -> dict[str, str]:
    with (FOLDER / "locale/zh.po").open("rb") as file:
        messages = [message for message in read_po(file) if message.id]
    return {
        message.id if isinstance(message.id, str) else message.id[0]: (
            message.string if isinstance(message.string, str) else (message.string or [""])[0]
        )
        for message in messages
    }


def test_nothing_is_untranslated() -> None:
    known = _catalogue()
    assert [f"{place}: {message!r}" for message, place in _used().items() if not known.get(message)] == []


def test_nothing_is_unused() -> None:
    assert sorted(set(_catalogue()) - set(_used())) == []


def test_no_placeholder_is_lost_or_invented() -> None:
    for identity, text in _catalogue().items():
        assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(identity)), identity


def test_the_extraction_sees_code_and_templates() -> None:
    assert {"the same within {margin}", "{flow}: experience report"} <= set(_used())

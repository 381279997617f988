"""The Chinese catalogue is whole: nothing untranslated, nothing unused, no placeholder lost."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import extract
from babel.messages.pofile import read_po

import cxgauge.alerts
from cxgauge.metrics.translation import translator

FOLDER = Path(cxgauge.alerts.__file__).parent
KEYWORDS = {"text": None, "plural": (1, 2)}
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def used() -> dict[str, str]:
    """Every string in code and templates, and where."""
    found: dict[str, str] = {}
    for pattern, method in (("**/*.py", "python"), ("templates/*.jinja", "jinja2.ext:babel_extract")):
        for path in sorted(FOLDER.glob(pattern)):
            with path.open("rb") as file:
                for line, message, _, _ in extract(method, file, keywords=KEYWORDS):
                    found[message if isinstance(message, str) else message[0]] = f"{path.name}:{line}"
    return found


def catalogue() -> dict[str, Message]:
    with (FOLDER / "locale" / "zh.po").open("rb") as file:
        return {
            message.id if isinstance(message.id, str) else message.id[0]: message
            for message in read_po(file)
            if message.id
        }


def test_nothing_is_untranslated() -> None:
    known = catalogue()
    lacking = [
        f"{place}: {message!r}"
        for message, place in used().items()
        if message not in known or not known[message].string
    ]
    assert lacking == []


def test_nothing_is_unused() -> None:
    assert sorted(set(catalogue()) - set(used())) == []


def test_no_placeholder_is_lost_or_invented() -> None:
    for identity, message in catalogue().items():
        text = message.string if isinstance(message.string, str) else (message.string or ("",))[0]
        assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(identity)), identity


def test_the_extraction_sees_what_it_should() -> None:
    assert {"{flow} got slower{at} since {since}", "Not concluded", "{count} observation"} <= set(used())


@pytest.mark.parametrize("count", [1, 2])
def test_plural_in_both_languages(count: int) -> None:
    english = translator(FOLDER / "locale", "en").plural("{count} observation", "{count} observations", count)
    assert english == ("1 observation" if count == 1 else "2 observations")
    assert translator(FOLDER / "locale", "zh").plural("{count} observation", "{count} observations", count) == (
        f"依据 {count} 次观测"
    )

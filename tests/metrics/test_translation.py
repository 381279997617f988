from pathlib import Path

import pytest

from cxgauge.metrics.translation import LANGUAGES, Translator, translator

CATALOGUE = """
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"

msgid "{step} got slower"
msgstr "“{step}”变慢"

msgid "{count} step"
msgid_plural "{count} steps"
msgstr[0] "{count} 个环节"

#, fuzzy
msgid "guessed"
msgstr "猜的"

msgid "empty"
msgstr ""
"""


@pytest.fixture
def zh(tmp_path: Path) -> Translator:
    (tmp_path / "zh.po").write_text(CATALOGUE, encoding="utf-8")
    return translator(tmp_path, "zh")


def test_a_text_is_translated_and_filled_in(zh: Translator) -> None:
    assert zh.text("{step} got slower", step="总额") == "“总额”变慢"


def test_a_plural_may_format_its_number_itself(zh: Translator) -> None:
    assert zh.plural("{count} step", "{count} steps", 2000) == "2000 个环节"
    assert zh.plural("{count} step", "{count} steps", 2000, count="2,000") == "2,000 个环节"


@pytest.mark.parametrize("message", ["guessed", "empty", "unknown"])
def test_what_has_no_sure_translation_stays_english(zh: Translator, message: str) -> None:
    assert zh.text(message) == message


def test_english_needs_no_catalogue(tmp_path: Path) -> None:
    english = translator(tmp_path, "en")
    assert english.text("{step} got slower", step="Total") == "Total got slower"
    assert english.plural("{count} step", "{count} steps", 1) == "1 step"


def test_a_value_in_braces_is_not_a_placeholder(zh: Translator) -> None:
    assert zh.text("{step} got slower", step="{step}") == "“{step}”变慢"


def test_a_catalogue_that_did_not_ship_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        translator(tmp_path / "nowhere", "zh")
    assert LANGUAGES == ("en", "zh")

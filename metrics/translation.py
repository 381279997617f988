"""Texts in the reader's language: gettext catalogues (``.po``) read at run time.

A package keeps its catalogues in a folder ``locale`` beside its modules, one file a language
(``alerts/locale/zh.po``); the English text is the message id. Placeholders are named and in braces
(``{step} got slower``), so a translation may reorder them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from babel.messages.pofile import read_po

__all__ = ["LANGUAGES", "Language", "Translator", "translator"]

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True, slots=True)
class Translator:
    """Texts of one catalogue in one language.

    ``text`` and ``plural`` are the names the extraction looks for: call them with literal strings.
    """

    language: Language
    messages: Mapping[str, str] = field(default_factory=dict)

    def text(self, message: str, /, **values: Any) -> str:
        """Translate ``message`` and fill in its placeholders; an untranslated one stays English."""
        return self.messages.get(message, message).format(**values)

    def plural(self, singular: str, plural: str, count: int, /, **values: Any) -> str:
        """Translate by number; ``{count}`` is filled in (pass it to override its formatting)."""
        message = self.messages.get(singular)
        if message is None:
            message = singular if count == 1 else plural
        return message.format(**{"count": count, **values})


@cache
def translator(folder: Path, language: Language) -> Translator:
    """Read the catalogue of ``language`` in ``folder``; English needs none.

    Chinese has one plural form, so one string per plural message is enough.

    Raises:
        FileNotFoundError: the catalogue is not there (a packaging fault, found by a test).
    """
    if language == "en":
        return Translator("en", MappingProxyType({}))
    with (folder / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    messages: dict[str, str] = {}
    for message in catalogue:
        identity = message.id if isinstance(message.id, str) else message.id[0]
        string = message.string if isinstance(message.string, str) else (message.string or ("",))[0]
        if identity and string and not message.fuzzy:
            messages[identity] = string
    return Translator(language, MappingProxyType(messages))

"""Templates: one environment for reports and pages, escaped where it is HTML."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from .wording import Wording

__all__ = ["render"]

_FOLDER = Path(__file__).with_name("templates")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(["html.j2"], default_for_string=True, default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _markdown_cell
    environment.filters["emphasis"] = _emphasis
    environment.filters["plain"] = _plain
    return environment


def render(template: str, wording: Wording, **values: Any) -> str:
    """Fill in a template; ``w`` is the wording, ``text`` and ``plural`` translate."""
    translator = wording.translator
    return (
        _environment()
        .get_template(template)
        .render(w=wording, text=translator.text, plural=translator.plural, **values)
    )


def _markdown_cell(text: str) -> str:
    """Text for a cell of a Markdown table: bars escaped, one line, no markup of its own (titles are people's text)."""
    cleaned = " ".join(str(text).split())
    for mark in ("\\", "|", "*", "_", "`", "<", "[", "]"):
        cleaned = cleaned.replace(mark, f"\\{mark}")
    return cleaned


_EMPHASIS = re.compile(r"\*([^*]+)\*")


def _emphasis(text: str) -> Markup:
    """Text in HTML, escaped, with ``*words*`` emphasised as the sentences of alerts have them."""
    return Markup(_EMPHASIS.sub(r"<em>\1</em>", str(escape(text))))  # noqa: S704 - escaped just before


def _plain(text: str) -> str:
    """Text without the marks of emphasis."""
    return _EMPHASIS.sub(r"\1", text)

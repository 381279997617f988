"""Guides in both languages say the same commands and settings, and lead to each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE_CODE = re.compile(r"`([^`\n]+)`")
COMMENT = re.compile(r"(?:^|\s+)#\s.*$")
CHINESE = sorted(DOCS.glob("**/*.zh.md"))
OUTPUT_TRANSLATED = ("calendar", "pages", "sign-in", "report")
PAIRS = [(path.with_name(path.name.replace(".zh.md", ".md")), path) for path in CHINESE if path.parent.name == "how-to"]


def _lines(path: Path) -> list[str]:
    """Lines of all blocks without their comments; a root prompt (``# command``) stays."""
    found = []
    for block in BLOCK.findall(path.read_text("utf-8")):
        for line in block.splitlines():
            prompt = "# " if line.startswith("# ") and not re.search(r"[\u4e00-\u9fff]|\.ya?ml$|\.ini$", line) else ""
            rest = COMMENT.sub("", line.removeprefix(prompt)) if prompt else COMMENT.sub("", line)
            if rest.strip():
                found.append(prompt + rest.rstrip())
    return found


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: path.name)
def test_both_languages_have_the_same_commands(english: Path, chinese: Path) -> None:
    """Whole blocks, where they are no output; else what follows a prompt."""
    pair = [_lines(path) for path in (chinese, english)]
    if english.stem in OUTPUT_TRANSLATED:
        pair = [[line for line in lines if line.startswith("$ ")] for lines in pair]
    assert pair[0] == pair[1]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: path.name)
def test_both_languages_lead_to_each_other(english: Path, chinese: Path) -> None:
    assert f"[中文]({chinese.name})" in english.read_text("utf-8")
    assert f"[English]({english.name})" in chinese.read_text("utf-8")


def test_every_guide_in_chinese_is_linked_from_the_chinese_start() -> None:
    start = (DOCS / "README.zh.md").read_text("utf-8")
    assert [path.name for _, path in PAIRS if f"(how-to/{path.name})" not in start] == []


@pytest.mark.parametrize("name", ["alerts", "import", "deploy", "events", "prometheus", "grafana"])
def test_tables_of_both_languages_name_the_same_things(name: str) -> None:
    """Options, fields, metrics and alerts named in tables."""

    def named(path: Path) -> list[str]:
        rows = [line for line in path.read_text("utf-8").splitlines() if line.startswith("|")]
        return [code for row in rows for code in TABLE_CODE.findall(row) if re.fullmatch(r"[A-Za-z0-9_./:\-]+", code)]

    assert sorted(named(DOCS / f"how-to/{name}.zh.md")) == sorted(named(DOCS / f"how-to/{name}.md"))

"""What a reader of the repository relies on: links that lead somewhere, and nothing of one machine in it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT_SUFFIXES = {
    ".md",
    ".py",
    ".sql",
    ".yml",
    ".yaml",
    ".toml",
    ".sh",
    ".po",
    ".j2",
    ".jinja",
    ".css",
    ".js",
    ".json",
    "",
}
LINK = re.compile(r"(?<!\\)!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
MACHINE = re.compile(r"/(?:work|home/\w+|Users/\w+)/\w+|/root/\.\w+|\b(?!example\b)[\w-]+\.internal\b")
CONFLICT = re.compile(r"^(?:<{7} |>{7} |={7}$)", re.MULTILINE)


@cache
def listed_files() -> tuple[Path, ...]:
    """Every file that is or is about to be under version control."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:  # an unpacked source distribution
        return tuple(file for file in ROOT.rglob("*") if file.is_file() and ".venv" not in file.parts)
    files = (ROOT / name for name in done.stdout.split("\0") if name)
    return tuple(file for file in files if file.is_file() and not file.is_symlink())


def documents() -> list[Path]:
    return [file for file in listed_files() if file.suffix == ".md"]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of ``text``."""
    outside_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", outside_code, re.MULTILINE)
    explicit = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    return explicit | {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(file: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    broken = []
    for target in LINK.findall(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        goal = (file.parent / path) if path else file
        if not goal.exists():
            broken.append(f"{target}: there is no {path}")
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text(encoding="utf-8")):
            broken.append(f"{target}: {goal.name} has no heading {anchor!r}")
    return broken


@pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    assert broken_links(file) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One heading\n[good](#one-heading) [bad](#two) [gone](gone.md) [web](https://example.org)\n")
    assert broken_links(page) == ["#two: page.md has no heading 'two'", "gone.md: there is no gone.md"]


def test_nothing_of_one_machine_is_in_the_files() -> None:
    found = []
    for file in listed_files():
        if file.suffix not in TEXT_SUFFIXES or file == Path(__file__):
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if match := MACHINE.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {match[0]}")
    assert found == []


def test_no_conflict_marker_was_left() -> None:
    texts = [file for file in listed_files() if file.suffix in TEXT_SUFFIXES]
    marked = [str(file.relative_to(ROOT)) for file in texts if CONFLICT.search(file.read_text("utf-8", "replace"))]
    assert marked == []


def test_every_target_of_the_makefile_is_explained() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    explained = set(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE))
    assert set(phony.split()) == explained
    assert {"demo", "test", "check", "bench", "services", "services-stop", "help"} <= explained


def test_the_changelog_begins_with_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0].startswith(version)
    assert version in (ROOT / "__init__.py").read_text(encoding="utf-8")

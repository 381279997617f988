"""The command line as a whole: every command explains itself with an example, and shells complete it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

import cxgauge
from cxgauge.__main__ import application


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that does something, by the words that call it."""
    below = getattr(command, "commands", None)
    if not below:
        yield path
        return
    for name, child in below.items():
        yield from leaves(child, (*path, name))


COMMANDS = sorted(leaves(typer.main.get_command(application())))


def test_the_commands_of_the_manual_are_there() -> None:
    names = {path[0] for path in COMMANDS}
    assert names >= {"check", "demo", "doctor", "import", "init", "migrate", "report", "schema", "status", "up"}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_calls_the_command(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(application(), [*path, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"Example:  cxgauge {' '.join(path)}" in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [("cxgauge al", "alerts"), ("cxgauge alerts ack", "acknowledge"), ("cxgauge up --c", "--config")],
)
def test_shells_complete_commands_and_options(words: str, expected: str) -> None:
    variables = {
        **os.environ,
        "_CXGAUGE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    program = "import sys; sys.argv = ['cxgauge']; from cxgauge.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == [expected]


def test_what_applications_import_is_offered_at_the_top() -> None:
    from cxgauge.collectors.recorder.recorder import Recorder
    from cxgauge.collectors.recorder.span_processor import CxgaugeSpanProcessor

    assert (cxgauge.Recorder, cxgauge.CxgaugeSpanProcessor) == (Recorder, CxgaugeSpanProcessor)
    with pytest.raises(AttributeError, match=r"^module 'cxgauge' has no attribute 'Recoder'$"):
        _ = cxgauge.Recoder

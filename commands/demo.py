"""``cxgauge demo``: the whole product in three minutes, on a bank that breaks on purpose."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..examples.demo import Result

__all__ = ["demo"]


class Format(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


class Language(StrEnum):
    """Languages of pages and alerts."""

    EN = "en"
    ZH = "zh"


def demo(
    leave: Annotated[
        bool | None,
        typer.Option("--exit/--stay", help="End after the result, or stay until Ctrl-C (default on a terminal)."),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="json prints one object when all is over.")] = Format.TEXT,
    language: Annotated[Language, typer.Option(help="Language of pages and alerts.")] = Language.EN,
    port: Annotated[int, typer.Option(help="Port of the pages on 127.0.0.1; 0 takes a free one.")] = 0,
    browser: Annotated[
        bool | None,
        typer.Option(
            "--browser/--no-browser", help="Open the pages in a browser (default: when staying and there is one)."
        ),
    ] = None,
    customers: Annotated[int, typer.Option(help="Customers at the same time.", min=20, max=1000)] = 120,
    directory: Annotated[
        Path | None, typer.Option(help="Keep database, configuration and logs there; by default they are removed.")
    ] = None,
) -> None:
    r"""Measure a small bank, break two things, and show both alerts.

    Starts an embedded database, a small HTTP bank with the recorder, its customers, and `cxgauge up`; learns from a
    simulated history; then bill_total goes from 1.0 s to 1.2 s and some bills lose their details. Exit code 0 means
    that exactly these two were found. The pages are open meanwhile; on a terminal they stay until Ctrl-C.

    \b
    Example:  cxgauge demo
              cxgauge demo --exit --format json
    """
    from ..examples.demo import Demonstration, DemonstrationSettings
    from ..examples.processes import DemonstrationError
    from ..metrics.store.embedded import EmbeddedPostgresError

    def say(line: str) -> None:
        typer.echo(line, err=output is Format.JSON)

    stays = sys.stdin.isatty() and sys.stdout.isatty() and output is Format.TEXT if leave is None else not leave
    for number in (signal.SIGINT, signal.SIGTERM):  # some shells start what runs in the background deaf to Ctrl-C
        signal.signal(number, _interrupt)
    settings = DemonstrationSettings(customers=customers, port=port, language=language.value)
    try:
        with _workspace(directory) as workspace:
            demonstration = Demonstration(workspace, settings, say)
            show = _has_browser() and stays if browser is None else browser
            result = demonstration.run(
                lambda: _wait_for_interrupt(demonstration.pages) if stays else None, _open if show else None
            )
    except (DemonstrationError, EmbeddedPostgresError) as error:
        typer.echo(f"the demonstration could not be run: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    typer.echo(json.dumps(_as_json(result)) if output is Format.JSON else _summary(result))
    raise typer.Exit(0 if result.exact else 1)


@contextmanager
def _workspace(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="cxgauge-demo-") as temporary:
        yield Path(temporary)


def _interrupt(_number: int, _frame: object) -> None:
    """Ending the demonstration by a signal leaves no process behind either."""
    raise KeyboardInterrupt


def _has_browser() -> bool:
    """Whether a browser would open a window; not one that takes over the terminal."""
    import webbrowser

    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _open(url: str) -> None:
    import webbrowser

    webbrowser.open(url)


def _wait_for_interrupt(url: str) -> None:
    typer.echo(f"\nLook around: {url}   (Ctrl-C ends the demonstration)")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        typer.echo("")


def _as_json(result: Result) -> dict[str, object]:
    return {
        "alerts": [asdict(alert) for alert in result.alerts],
        "silent_steps": list(result.silent_steps),
        "observations": result.observations,
        "seconds": result.seconds,
    }


def _summary(result: Result) -> str:
    verdict = "exactly the two injected faults were found" if result.exact else "the result is NOT as expected"
    return (
        f"{verdict} in {result.seconds:.0f} s, from {result.observations:,} observations; "
        f"silent: {', '.join(result.silent_steps)}"
    )

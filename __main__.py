"""The ``cxgauge`` command: every module of ``commands`` is one sub-command of the same name.

A module ``commands/<name>.py`` holds a function ``<name>`` (or a ``typer.Typer`` of that name for a
group); a trailing underscore keeps Python's keywords apart (``import_`` is ``cxgauge import``).
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

import typer

from . import __version__, commands

__all__ = ["application", "main"]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cxgauge {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A ruler for customer experience: was every step of every user flow fast, and was the answer right?

    Start with:  cxgauge demo
    """


def application() -> typer.Typer:
    """Build the command line from the modules of ``commands``."""
    app = typer.Typer(
        name="cxgauge", callback=_root, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    for module in pkgutil.iter_modules(commands.__path__):
        if module.name.startswith("_"):
            continue
        command = getattr(import_module(f"{commands.__name__}.{module.name}"), module.name)
        name = module.name.rstrip("_").replace("_", "-")
        if isinstance(command, typer.Typer):
            for registered in command.registered_commands:
                registered.help = registered.help or _help(registered.callback)
            app.add_typer(command, name=name)
        else:
            app.command(name, help=_help(command))(command)
    return app


def _help(function: Callable[..., object] | None) -> str:
    """The docstring as help; click's mark for lines to be kept apart also counts where the docstring is raw."""
    return inspect.cleandoc(getattr(function, "__doc__", None) or "").replace(r"\b", "\b")


def main() -> None:
    """Entry point of the ``cxgauge`` script."""
    application()()


if __name__ == "__main__":
    main()

"""``cxgauge dashboards``: Grafana dashboards from the flow specification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._installation import ConfigOption, fail, load_config, open_store

if TYPE_CHECKING:
    from ..dashboards.grafana.publisher import Note
    from ..metrics.configuration.config import Config

__all__ = ["dashboards"]

dashboards = typer.Typer(
    help="Grafana dashboards from the flow specification: publish them, or write provisioning files.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_NEEDS = "this needs the extra grafana; install it: pip install 'cxgauge[grafana]'"

_Flows = Annotated[
    Path | None, typer.Option("--flows", metavar="PATH", help="Flow file or folder, if not the configured.")
]
_Language = Annotated[str | None, typer.Option("--language", help="en or zh; by default the configured.")]
_Database = Annotated[
    str | None, typer.Option("--database", metavar="HOST:PORT/NAME", help="Where Grafana finds the database.")
]
_User = Annotated[str, typer.Option("--database-user", help="A login in role cxgauge_reader.")]
_Tls = Annotated[str, typer.Option("--database-tls", help="sslmode: disable, require, verify-ca, verify-full.")]
_Prometheus = Annotated[str | None, typer.Option("--prometheus", metavar="URL", help="Where Grafana finds Prometheus.")]
_Traces = Annotated[
    str | None,
    typer.Option("--traces", metavar="URL", help="Where exemplars lead: a trace's address with TRACE_ID in it."),
]
_Folder = Annotated[str, typer.Option("--folder", help="Title of Grafana's folder.")]
_Mounted = Annotated[str, typer.Option("--mounted-at", help="Where Grafana sees DIR.")]


@dashboards.command()
def push(
    url: Annotated[str, typer.Option("--url", help="Address of Grafana.")],
    token: Annotated[
        str, typer.Option("--token", metavar="REFERENCE", help="env:NAME or file:PATH of a service account's token.")
    ],
    config: ConfigOption = None,
    flows: _Flows = None,
    language: _Language = None,
    database: _Database = None,
    database_user: _User = "grafana",
    database_password: Annotated[
        str | None, typer.Option("--database-password", metavar="REFERENCE", help="env:NAME or file:PATH.")
    ] = None,
    database_tls: _Tls = "require",
    prometheus: _Prometheus = None,
    traces: _Traces = None,
    folder: _Folder = "cxgauge",
    annotate_days: Annotated[
        float, typer.Option("--annotate-days", min=0, help="Also add events and alerts of so many days as annotations.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what people changed.")] = False,
) -> None:
    r"""Put folder, datasources, dashboards and annotations into a Grafana.

    May be run as often as you like. A dashboard or datasource that a person changed is left as it is and named; then
    the exit code is 2. --force overwrites it (Grafana keeps its versions). Datasources are written when their
    address is given.

    \b
    Example:  cxgauge dashboards push --url http://127.0.0.1:3000 --token env:GRAFANA_TOKEN --dry-run
    """
    settings = load_config(config)
    boards = _boards(settings, flows, language)
    sources = _sources(database, database_user, database_tls, prometheus, traces)
    from ..dashboards.grafana.publisher import Action, Publisher, PublishError, connect

    password = _revealed(database_password) if database_password else None
    notes = _notes(settings, annotate_days) if annotate_days else []
    kept = 0
    try:
        publisher = Publisher(connect(url, _revealed(token)), force, dry_run)
        for result in publisher.publish(boards, sources, password, folder, notes):
            kept += result.action is Action.KEPT
            note = f" ({result.note})" if result.note else ""
            typer.echo(f"{result.action:<11} {result.kind} {result.name}{note}")
    except PublishError as error:
        raise fail(str(error)) from None
    if dry_run:
        typer.echo("Nothing was written (--dry-run).")
    if kept:
        typer.echo(f"{kept} changed by people and left alone; overwrite with --force", err=True)
        raise typer.Exit(2)


@dashboards.command()
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    config: ConfigOption = None,
    flows: _Flows = None,
    language: _Language = None,
    database: _Database = None,
    database_user: _User = "grafana",
    database_tls: _Tls = "require",
    database_password_file: Annotated[
        Path | None, typer.Option("--database-password-file", help="Where Grafana finds the password, if in a file.")
    ] = None,
    prometheus: _Prometheus = None,
    traces: _Traces = None,
    folder: _Folder = "cxgauge",
    mounted_at: _Mounted = "/etc/grafana/provisioning",
) -> None:
    r"""Write provisioning files that a fresh Grafana loads.

    The password is not among them: Grafana takes it from its environment, CXGAUGE_GRAFANA_DATABASE_PASSWORD, or from
    the file that --database-password-file names.

    \b
    Example:  cxgauge dashboards export provisioning/ --database db:5432/cxgauge --prometheus http://prometheus:9090
    """
    from ..dashboards.grafana.files import provisioning_files, write_files

    boards = _boards(load_config(config), flows, language)
    sources = _sources(database, database_user, database_tls, prometheus, traces)
    password_file = None if database_password_file is None else str(database_password_file)
    files = provisioning_files(boards, sources, mounted_at, folder, password_file)
    try:
        changed = write_files(files, directory)
    except OSError as error:
        raise fail(f"{error.filename or directory} cannot be written ({error.strerror}); choose another DIR") from None
    for name in changed:
        typer.echo(f"{'wrote' if name in files else 'removed'} {directory / name}")
    unchanged = len(files) - sum(name in files for name in changed)
    if unchanged:
        typer.echo(f"{unchanged} unchanged")


@dashboards.command()
def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an earlier export.")],
    config: ConfigOption = None,
    flows: _Flows = None,
    language: _Language = None,
) -> None:
    r"""Tell where exported dashboards and specification differ; exits with 1 if they do.

    \b
    Example:  cxgauge dashboards check provisioning/
    """
    from ..dashboards.grafana.files import compare, provisioning_files

    files = provisioning_files(_boards(load_config(config), flows, language), [])
    files = {name: text for name, text in files.items() if name.endswith(".json")}
    differences = compare(files, directory)
    for difference in differences:
        typer.echo(difference)
    if differences:
        typer.echo(f"{len(differences)} differ; write them with: cxgauge dashboards export {directory}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{len(files)} dashboards are what the specification says.")


def _boards(config: Config, flows: Path | None, language: str | None) -> dict[str, dict[str, Any]]:
    try:
        from ..dashboards.grafana.boards import dashboards as make
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("grafana_"):
            raise
        raise fail(_NEEDS) from None
    from ..metrics.configuration.config import SpecificationError
    from ..metrics.specification.flow import load_flows

    wanted = language or config.language
    if wanted.lower().split("-")[0].split("_")[0] not in ("en", "zh"):
        raise fail(f"--language {wanted!r} is not offered; choose en or zh")
    try:
        return make(load_flows(flows or config.flows.directory), "zh" if wanted.lower().startswith("zh") else "en")
    except SpecificationError as error:
        raise fail(str(error)) from None
    except ValueError as error:
        raise fail(str(error)) from None


def _sources(
    database: str | None, user: str, tls: str, prometheus: str | None, traces: str | None
) -> list[dict[str, Any]]:
    from ..dashboards.grafana.datasources import TRACE_ID, DatabaseAddress, datasources

    if traces is not None and prometheus is None:
        raise fail("--traces belongs to the datasource of --prometheus; give both")
    if traces is not None and (TRACE_ID not in traces or not traces.startswith(("http://", "https://"))):
        raise fail(f"--traces {traces!r} does not say where the id goes; write it like https://host/trace/{TRACE_ID}")

    address = None
    if database is not None:
        where, found, name = database.partition("/")
        if not found or not name or not where.rpartition(":")[2].isdigit():
            raise fail(f"--database {database!r} is not HOST:PORT/NAME; write it like db.example.com:5432/cxgauge")
        address = DatabaseAddress(where, name, user, tls)
    return datasources(address, prometheus, traces)


def _revealed(reference: str) -> str:
    from ..metrics.configuration.secret import Secret, SecretError

    kind, _, rest = reference.partition(":")
    if kind not in ("env", "file") or not rest:
        raise fail("a secret is given by reference, not by itself: env:NAME or file:PATH")
    try:
        return (Secret(variable=rest) if kind == "env" else Secret(file=Path(rest))).reveal()
    except SecretError as error:
        raise fail(str(error)) from None


def _notes(config: Config, days: float) -> list[Note]:
    import time

    from ..dashboards.grafana.notes import read_notes

    with open_store(config) as store:
        return read_notes(store, time.time() - days * 86_400)

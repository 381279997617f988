"""``cxgauge dashboards`` without a Grafana: files, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.examples.bank import FLOWS_DIRECTORY

RUN = CliRunner()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> tuple[int, str]:
    done = RUN.invoke(application(), ["dashboards", *arguments])
    return done.exit_code, done.output


def test_export_and_check_agree_until_somebody_changes_a_file(tmp_path: Path) -> None:
    flows = ("--flows", str(FLOWS_DIRECTORY))
    database = ("--database", "db:5432/cxgauge", "--prometheus", "http://prometheus:9090")
    code, text = run("export", "out", *flows, *database, "--language", "zh")
    assert code == 0
    assert len(text.splitlines()) == 8
    sources = (tmp_path / "out/datasources/cxgauge.yml").read_text()
    assert "password: $CXGAUGE_GRAFANA_DATABASE_PASSWORD" in sources
    assert run("export", "out", *flows, *database, "--language", "zh") == (0, "8 unchanged\n")
    assert run("check", "out", *flows, "--language", "zh") == (0, "6 dashboards are what the specification says.\n")
    (tmp_path / "out/dashboards/cxgauge/cxgauge-health.json").unlink()
    code, text = run("check", "out", *flows, "--language", "zh")
    assert code == 1
    assert text.splitlines() == [
        "out/dashboards/cxgauge/cxgauge-health.json is missing",
        "1 differ; write them with: cxgauge dashboards export out",
    ]


def test_exemplars_lead_to_traces_and_no_variable_of_grafana_is_filled_in(tmp_path: Path) -> None:
    address = "https://traces.example.com/trace/TRACE_ID?from=$now"
    given = ("--flows", str(FLOWS_DIRECTORY), "--prometheus", "http://prometheus:9090", "--traces", address)
    assert run("export", "out", *given)[0] == 0
    (source,) = yaml.safe_load((tmp_path / "out/datasources/cxgauge.yml").read_text())["datasources"]
    (link,) = source["jsonData"]["exemplarTraceIdDestinations"]
    # what Grafana makes of a provisioning file: $$ is a dollar, and a single one begins a variable
    assert link == {"name": "trace_id", "url": "https://traces.example.com/trace/$${__value.raw}?from=$$now"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token", "abc"], "a secret is given by reference, not by itself: env:NAME or file:PATH"),
        (["--language", "fr"], "--language 'fr' is not offered; choose en or zh"),
        (
            ["--database", "db.example.com"],
            "--database 'db.example.com' is not HOST:PORT/NAME; write it like db.example.com:5432/cxgauge",
        ),
        (["--url", "grafana"], "'grafana' is no address of a Grafana; write it like https://grafana.example.com"),
        (["--traces", "https://t/TRACE_ID"], "--traces belongs to the datasource of --prometheus; give both"),
        (
            ["--prometheus", "http://p:9090", "--traces", "https://t/"],
            "--traces 'https://t/' does not say where the id goes; write it like https://host/trace/TRACE_ID",
        ),
        (["--token", "env:NOT_SET_HERE"], "environment variable NOT_SET_HERE is not set; set it to the secret"),
    ],
)
def test_what_cannot_be_is_refused_by_name(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "x")
    given = ["--url", "http://127.0.0.1:9", "--token", "env:GRAFANA_TOKEN", "--flows", str(FLOWS_DIRECTORY), *arguments]
    assert run("push", *given) == (1, message + "\n")


def test_a_grafana_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "x")
    code, text = run(
        "push", "--url", "http://127.0.0.1:9", "--token", "env:GRAFANA_TOKEN", "--flows", str(FLOWS_DIRECTORY)
    )
    assert code == 1
    assert text == "Grafana cannot be reached (ConnectionError); is --url right, and is it up?\n"

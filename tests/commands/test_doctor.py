from __future__ import annotations

import json
import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cxgauge.__main__ import application
from cxgauge.collectors.spool import SpoolWriter
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.specification.template import write_project
from cxgauge.metrics.store.connection import DatabaseSettings
from cxgauge.metrics.store.migrations import migrate


def run(*arguments: str) -> Result:
    return CliRunner().invoke(application(), ["doctor", *arguments])


def findings(result: Result) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}


def write_config(folder: Path, dsn: str, port: int = 1) -> str:
    write_project(folder, ("bill_inquiry",))
    path = folder / "cxgauge.yml"
    path.write_text(
        f"database: {{dsn: {dsn!r}}}\nhttp: {{port: {port}}}\nspool: {{directory: spool}}\n", encoding="utf-8"
    )
    return str(path)


def test_what_is_missing_fails_with_its_remedy(embedded_dsn: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, embedded_dsn)
    result = run("--config", config)
    assert result.exit_code == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["→", "run", "cxgauge", "migrate"] in lines
    migrate(DatabaseSettings(embedded_dsn))
    result = run("--config", config, "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["health"] == "warn"
    found = findings(result)
    assert found["ruler"]["health"] == "warn"
    assert found["ruler"]["detail"].startswith("does not answer at http://127.0.0.1:1: ")
    assert {name for name, finding in found.items() if finding["health"] != "ok"} == {
        "ruler",
        "judged",
        "between steps",
    }
    assert found["between steps"]["detail"] == (
        "checks between steps are not made of answers, as neither recorder.customer_key nor CXGAUGE_CUSTOMER_KEYS is "
        "set: bill_inquiry.total_equals_details, bill_inquiry.disputed_item_was_shown"
    )
    assert found["between steps"]["remedy"] == (
        'write a key (umask 077; echo "1:$(openssl rand -hex 32)" > FILE) and set recorder.customer_key: file:FILE, '
        "the same for all who send"
    )
    assert found["judged"]["detail"] == "no step yet: there is no baseline"
    assert found["flows"]["detail"] == f"1 in {tmp_path / 'flows'}: bill_inquiry"


def test_the_spools_backlog_and_damage_are_shown(embedded_dsn: str, tmp_path: Path) -> None:
    migrate(DatabaseSettings(embedded_dsn))
    config = write_config(tmp_path, embedded_dsn)
    with SpoolWriter(tmp_path / "spool", "test") as spool:
        spool.append(ObservationBatch((SeriesKey("f", "s"),), np.zeros(100, dtype=RECORD)))
        (segment,) = (tmp_path / "spool" / spool.source).glob("*.segment")
        hour_ago = time.time() - 3600
        os.utime(segment, (hour_ago, hour_ago))
        (tmp_path / "spool" / "corrupt").mkdir()
        (tmp_path / "spool" / "corrupt" / "a.segment").touch()
        result = run("--config", config, "--format", "json")
    found = findings(result)
    assert result.exit_code == 1
    assert found["spool lag"]["health"] == "fail"
    assert found["spool lag"]["detail"].startswith("8.9 kB wait in ")
    assert found["spool damage"]["health"] == "warn"


@pytest.mark.parametrize(
    ("metric", "health", "detail"),
    [
        ("", "ok", "nothing was dropped since it started"),
        (
            'cxgauge_dropped_observations_total{reason="spool_full"} 1200\n',
            "warn",
            "observations dropped: 1,200 spool_full",
        ),
    ],
)
def test_drops_are_asked_of_the_running_ruler(
    embedded_dsn: str, tmp_path: Path, metric: str, health: str, detail: str
) -> None:
    class Ruler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"# TYPE cxgauge_dropped_observations_total counter\n{metric}".encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Ruler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        result = run("--config", write_config(tmp_path, embedded_dsn, server.server_port), "--format", "json")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    finding = findings(result)["ruler"]
    assert finding["health"] == health
    assert finding["detail"].endswith(detail)


def test_a_database_that_is_not_there_is_one_finding_among_others(tmp_path: Path) -> None:
    config = write_config(tmp_path, "host=127.0.0.1 port=1 connect_timeout=2")
    found = findings(run("--config", config, "--format", "json"))
    assert found["database"]["health"] == "fail"
    assert found["disk"]["health"] == "ok"

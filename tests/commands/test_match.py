"""`cxgauge match`: what spans in a file become, and why not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.metrics.specification.template import template_text

ROUTE = "/v1/bills/{bill_id}/total"


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "bill_inquiry.yml").write_text(template_text("bill_inquiry"), encoding="utf-8")
    (tmp_path / "cxgauge.yml").write_text("language: en\n", encoding="utf-8")
    return tmp_path


def span(name: str, attributes: dict[str, str] | None = None, kind: int = 2) -> dict[str, Any]:
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in (attributes or {}).items()]
    return {"name": name, "kind": kind, "attributes": pairs}


def request(*spans: dict[str, Any]) -> str:
    service = [{"key": "service.name", "value": {"stringValue": "bill-service"}}]
    groups = [{"resource": {"attributes": service}, "scopeSpans": [{"spans": spans}]}]
    return json.dumps({"resourceSpans": groups})


SPANS = request(
    span("GET total", {"http.route": ROUTE}),
    span("GET total", {"http.route": ROUTE}),
    span("GET total", kind=3),
    span("own", {"cxgauge.flow.name": "bil", "cxgauge.step.name": "bill_total"}),
    span("own", {"cxgauge.flow.name": "bill_inquiry", "cxgauge.step.name": "bill_total"}),
)


def run(installation: Path, data: bytes, *options: str) -> Any:
    file = installation / "spans"
    file.write_bytes(data)
    config = str(installation / "cxgauge.yml")
    return CliRunner().invoke(application(), ["match", str(file), "--config", config, *options])


def test_each_kind_of_span_is_explained(installation: Path) -> None:
    result = run(installation, SPANS.encode(), "--explain")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "       2  GET total  ->  bill_inquiry.bill_total",
        "          by match[0]",
        "       1  GET total  ->  no step",
        (
            f"          bill_inquiry.bill_total match[0]: http.route is missing, expected '{ROUTE}'; "
            "kind is client, not server"
        ),
        (
            "          bill_inquiry.bill_details match[0]: http.route is missing, "
            "expected '/v1/bills/{bill_id}/items'; "
            "kind is client, not server"
        ),
        (
            "          bill_inquiry.bill_dispute match[0]: service.name is 'bill-service', expected 'dispute-service'; "
            "span name is 'GET total', expected 'POST /v1/disputes'; kind is client, not server"
        ),
        "       1  own  ->  refused: cxgauge.flow.name='bil' is not a flow; known are bill_inquiry",
        "       1  own  ->  bill_inquiry.bill_total",
        "          by attributes cxgauge.flow.name and cxgauge.step.name",
    ]
    assert result.stderr == "3 of 5 spans are steps.\n"


def test_compressed_files_and_a_request_a_line_say_the_same(installation: Path) -> None:
    plain = run(installation, SPANS.encode()).stdout
    assert run(installation, gzip.compress(SPANS.encode())).stdout == plain
    lines = [request(one) for one in json.loads(SPANS)["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    assert run(installation, "\n".join(lines).encode()).stdout == plain


def test_json_output(installation: Path) -> None:
    rows = json.loads(run(installation, SPANS.encode(), "--format", "json").stdout)
    assert [(row["count"], row["step"], len(row["misses"])) for row in rows] == [
        (2, "bill_total", 0),
        (1, None, 3),
        (1, None, 0),
        (1, "bill_total", 0),
    ]


def test_a_rule_that_another_step_shares_is_told(installation: Path) -> None:
    second = template_text("bill_inquiry").replace("name: bill_inquiry", "name: second", 1)
    (installation / "flows" / "second.yml").write_text(second, encoding="utf-8")
    result = run(installation, request(span("GET", {"http.route": ROUTE})).encode(), "--explain")
    assert "          also matches second.bill_total; the first in order was taken" in result.stdout.splitlines()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a\xff", "the body of 2 bytes is not a protobuf ExportTraceServiceRequest; check Content-Type"),
        (b'{}\n{"resourceSpans": 1}', "{file}:2: resourceSpans is a number, not an array"),
    ],
)
def test_files_that_hold_no_spans(installation: Path, data: bytes, message: str) -> None:
    result = run(installation, data)
    assert (result.exit_code, result.stderr) == (1, message.replace("{file}", str(installation / "spans")) + "\n")


def test_no_step_at_all_is_a_failure(installation: Path) -> None:
    result = run(installation, request(span("x")).encode())
    assert (result.exit_code, result.stderr) == (1, "0 of 1 spans are steps.\n")

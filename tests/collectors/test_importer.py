from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.importer.files import FileFormat, FileIdentity, RowReader, open_rows
from cxgauge.collectors.importer.history import HistoryEntry, ImportHistory, RejectedFile
from cxgauge.collectors.importer.importer import ImportCounts, RowConverter, import_rows
from cxgauge.collectors.importer.mapping import ImportMapping, default_mapping
from cxgauge.collectors.importer.starter import look, starter_flow
from cxgauge.metrics.observation import ObservationBatch, Source, check_results
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.verdict import CheckResult, Verdict

FLOW = """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
dimensions:
  - {name: channel, values: [app, web]}
steps:
  - name: total
    title: {en: Total, zh: 总额}
    timeliness: {target: 1s, timeout: 10s}
    checks:
      - {name: details_present, kind: present, value: $.details}
      - {name: total_matches, kind: equals, value: $.total, to: $.sum}
"""


class Kept:
    """A destination in memory: batch and place together, or neither; ``fail_at`` kills the import at that commit."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.places: dict[str, int] = {}
        self.batches: list[ObservationBatch] = []
        self.fail_at = fail_at

    def place(self, source: str) -> int:
        return self.places.get(source, 0)

    def commit(self, source: str, batch: ObservationBatch, place: int) -> None:
        if self.fail_at is not None and len(self.batches) == self.fail_at:
            self.fail_at = None
            raise ConnectionError("killed")
        self.batches.append(batch)
        self.places[source] = place

    def durations(self) -> list[float]:
        return [float(value) for batch in self.batches for value in batch.records["duration_seconds"]]


@pytest.fixture
def flow() -> FlowSpec:
    return parse_flow(FLOW)


def _mapping(**more: Any) -> ImportMapping:
    return ImportMapping.model_validate(
        {
            "flow": {"value": "bill"},
            "step": {"value": "total"},
            "duration": {"column": "ms", "unit": "ms"},
            "observed_at": {"column": "at"},
            **more,
        }
    )


TOKENS = CustomerTokens([CustomerKey(1, b"0123456789abcdef")])


def _convert(flow: FlowSpec, mapping: ImportMapping, *rows: dict[str, Any]) -> ObservationBatch:
    converter = RowConverter({"bill": flow}, mapping, TOKENS)
    for row in rows:
        converter.add({"at": "2026-03-14T00:00:00Z", "ms": "10", **row})
    return converter.take()


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ({"ms": "1000"}, Verdict.GOOD),
        ({"ms": "1000.1"}, Verdict.SLOW),
        ({"ms": "10000"}, Verdict.TIMEOUT),
        ({"status": "500"}, Verdict.ERROR),
        ({"status": "500", "ms": "10000"}, Verdict.ERROR),
        ({"details": "fail"}, Verdict.INCOMPLETE),
        ({"details": "fail", "equal": "fail", "ms": "2000"}, Verdict.WRONG),
        ({"details": "pass", "equal": "unsure"}, Verdict.GOOD),
    ],
)
def test_worst_of_row_checks_and_duration_wins(flow: FlowSpec, row: dict[str, Any], verdict: Verdict) -> None:
    checks = {"details_present": "details", "total_matches": "equal"}
    batch = _convert(flow, _mapping(status="status", checks=checks), row)
    assert batch.records["verdict"].tolist() == [verdict]


def test_check_bits_follow_the_names_of_the_series(flow: FlowSpec) -> None:
    batch = _convert(flow, _mapping(checks={"total_matches": "equal"}), {"equal": "fail"}, {})
    assert batch.series[0].checks == ("details_present", "total_matches")
    assert check_results(int(batch.records["checks"][0]), 2) == (CheckResult.NOT_EVALUATED, CheckResult.FAIL)
    assert int(batch.records["checks"][1]) == 0


def test_start_times_become_arrival_times(flow: FlowSpec) -> None:
    mapping = _mapping(observed_at=None, started_at={"column": "at"})
    batch = _convert(flow, mapping, {"at": "2026-03-14T00:00:00Z", "ms": "1500"})
    assert batch.records["observed_at_us"].tolist() == [1_773_446_401_500_000]


def test_identities_dimensions_and_source(flow: FlowSpec) -> None:
    mapping = _mapping(
        dimensions={"channel": {"column": "ch", "values": {"01": "app"}}},
        customer="who",
        trace_id="trace",
        span_id="span",
    )
    batch = _convert(
        flow,
        mapping,
        {
            "ch": "01",
            "who": "6222020200112233",
            "trace": "0af7651916cd43dd8448eb211c80319c",
            "span": "b7ad6b7169203331",
        },
        {"ch": "telex"},
        {},
    )
    assert [batch.series[i].dimensions for i in batch.records["series"]] == [
        (("channel", "app"),),
        (("channel", "other"),),
        (("channel", "unknown"),),
    ]
    assert batch.records["customer"][0].tobytes() == TOKENS.token("6222020200112233")
    assert batch.records["customer"][1].tobytes() == bytes(16)
    assert batch.records["trace_id"][0].tobytes().hex() == "0af7651916cd43dd8448eb211c80319c"
    assert int(batch.records["span_id"][0]) % 2**64 == 0xB7AD6B7169203331
    assert set(batch.records["source"].tolist()) == {int(Source.IMPORT)}


def _file(count: int, bad_every: int = 10) -> bytes:
    lines = []
    for number in range(1, count + 1):
        good = json.dumps({"at": 1_773_446_400 + number, "ms": number})
        lines.append("broken\tline" if number % bad_every == 0 else good)
    return "\n".join(lines).encode() + b"\n"


def _import(content: bytes, flow: FlowSpec, destination: Kept, folder: Path) -> ImportCounts:
    mapping = _mapping(observed_at={"column": "at", "format": "unix"})
    converter = RowConverter({"bill": flow}, mapping, TOKENS)
    with RejectedFile(folder / "file.rejected") as rejected:
        return import_rows(
            open_rows(io.BytesIO(content), FileFormat.NDJSON),
            converter,
            destination,
            "import-1",
            rejected=rejected,
            batch_rows=7,
        )


def test_counts_and_rejected_lines(flow: FlowSpec, tmp_path: Path) -> None:
    destination = Kept()
    counts = _import(_file(100), flow, destination, tmp_path)

    assert (counts.accepted, counts.rejected_total) == (90, 10)
    assert counts.rejected == {"not JSON": 10}
    assert counts.steps == {"total": 90}
    assert (counts.first_us, counts.last_us) == (1_773_446_401_000_000, 1_773_446_499_000_000)
    assert (tmp_path / "file.rejected").read_text().splitlines()[0] == (
        "10\tnot JSON: Expecting value: line 1 column 1 (char 0)\tbroken\\tline"
    )
    assert (tmp_path / "file.rejected").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fail_at", [0, 1, 5, 12])
def test_killed_import_goes_on_without_loss_or_double(flow: FlowSpec, tmp_path: Path, fail_at: int) -> None:
    whole, killed = Kept(), Kept(fail_at)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _import(_file(100), flow, whole, tmp_path / "a")

    with pytest.raises(ConnectionError):
        _import(_file(100), flow, killed, tmp_path / "b")
    _import(_file(100), flow, killed, tmp_path / "b")

    assert killed.durations() == whole.durations()
    assert (tmp_path / "b/file.rejected").read_bytes() == (tmp_path / "a/file.rejected").read_bytes()


def test_second_import_adds_nothing_and_keeps_the_rejected_file(flow: FlowSpec, tmp_path: Path) -> None:
    destination = Kept()
    _import(_file(30), flow, destination, tmp_path)
    rejected = (tmp_path / "file.rejected").read_bytes()

    counts = _import(_file(30), flow, destination, tmp_path)

    assert (counts.accepted, counts.rejected_total, len(destination.durations())) == (0, 0, 27)
    assert (tmp_path / "file.rejected").read_bytes() == rejected


@pytest.mark.parametrize(
    ("mapping", "row", "reason", "kind"),
    [
        ({"flow": {"value": "loan"}}, {}, "flow 'loan' is not declared", "undeclared flow"),
        ({"step": "step"}, {"step": "pay"}, "step 'pay' is not declared in flow bill", "undeclared step"),
        ({"step": "step"}, {}, "step is missing; a row needs a step", "no step"),
        (
            {"step": {"column": "step", "rules": [{"match": "^x", "step": "total"}], "otherwise": "reject"}},
            {"step": "pay"},
            "step='pay' matches no rule",
            "no rule for the step",
        ),
        ({"trace_id": "t"}, {"t": "12"}, "id='12' is not 32 hexadecimal digits", "bad id"),
    ],
)
def test_unusable_rows_say_why(
    flow: FlowSpec, mapping: dict[str, Any], row: dict[str, Any], reason: str, kind: str
) -> None:
    from cxgauge.collectors.importer.mapping import FieldError

    with pytest.raises(FieldError) as caught:
        _convert(flow, _mapping(**mapping), row)
    assert (str(caught.value), caught.value.kind) == (reason, kind)


def test_history_keeps_entries_and_passes_over_damage(tmp_path: Path) -> None:
    history = ImportHistory(tmp_path / "imports")
    assert history.entries() == []
    entry = HistoryEntry("import-a", "a" * 64, 12, "s", "x.log")
    history.keep(entry)
    (tmp_path / "imports/import-b.json").write_text("{")

    assert history.entries() == [entry]
    assert entry.identity == FileIdentity("a" * 64, 12)


PATTERN = (
    r"(?P<observed_at>\d{4}-\d\d-\d\d \S+) (?P<step>[A-Z]+ \S+) HTTP.* status: (?P<status>\d+) .*"
    r"time: (?P<duration_seconds>[\d.]+)"
)
LOG = """\
2017-05-16 00:00:00.008 GET /v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/detail HTTP/1.1 status: 200 time: 0.2477829
2017-05-16 00:00:00.272 GET /v2/113d3a99c3da401fbd62cc2caa5b96d2/servers/detail?all=1 HTTP/1.1 status: 200 time: 0.25
2017-05-16 00:00:01.500 POST /v2/54fadb412c4e40cdbaed9335e4c35a9e/servers HTTP/1.1 status: 503 time: 0.001
VM Started (Lifecycle Event)
"""


def test_starter_flow_is_a_valid_flow_that_takes_every_row(tmp_path: Path) -> None:
    pattern = re.compile(PATTERN)
    mapping = default_mapping(pattern.groupindex, flow="nova", step=None, time_format="iso", timezone="UTC")

    def reader() -> RowReader:
        return open_rows(io.BytesIO(LOG.encode()), FileFormat.LOG, pattern=pattern)

    flow = parse_flow(starter_flow("nova", look(reader().rows(0), mapping), owner="compute", file_name="nova.log"))
    assert [(step.name, step.title.en, step.timeliness.target_seconds) for step in flow.steps] == [
        ("get_v2_id_servers_detail", "GET /v2/{id}/servers/detail", 0.25),
        ("post_v2_id_servers", "POST /v2/{id}/servers", 1.0),
    ]

    destination = Kept()
    with RejectedFile(tmp_path / "nova.log.rejected") as rejected:
        counts = import_rows(
            reader(), RowConverter({"nova": flow}, mapping, TOKENS), destination, "import-2", rejected=rejected
        )
    assert counts.steps == {"get_v2_id_servers_detail": 2, "post_v2_id_servers": 1}
    assert counts.rejected == {"does not match the pattern": 1}
    assert np.concatenate([batch.records["verdict"] for batch in destination.batches]).tolist() == [0, 0, 7]


def test_starter_flow_without_rows_is_refused() -> None:
    mapping = default_mapping(["duration", "observed_at"], flow="f", step="s", time_format="iso", timezone="UTC")
    with pytest.raises(ValueError, match=r"^a.log: no usable row, so there is no step to write; is the pattern"):
        starter_flow("f", look([], mapping), owner="me", file_name="a.log")

"""Checks between steps of one flow instance, recorded from Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.collectors.spool import ResumePoint, SpoolReader
from cxgauge.metrics.observation import check_results
from cxgauge.metrics.specification.flow import parse_flow
from cxgauge.metrics.verdict import CheckResult, Verdict

FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
steps:
  - name: bill_total
    title: {en: Total, zh: 总额}
    timeliness: {target: 60s}
    values: {total: {path: $.total, privacy: C2, tokenise: true}}
    checks: [{name: total_present, kind: present, value: total}]
  - name: bill_details
    title: {en: Details, zh: 明细}
    timeliness: {target: 60s}
    values: {amounts: {path: "$.details[*].amount", privacy: C2, tokenise: true}}
    checks: [{name: details_present, kind: present, value: amounts}]
across:
  - {name: total_equals_details, kind: sum_equals, value: bill_total.total, of: bill_details.amounts}
"""
TOKENS = CustomerTokens([CustomerKey(1, b"k" * 32)])
DETAILS = {"details": [{"amount": "7.10"}, {"amount": "5.24"}]}


def made(path: Path, **options: Any) -> Recorder:
    options = {"tokens": TOKENS, "across": path / "across.sqlite3", **options}
    return Recorder(flows={"bill_inquiry": parse_flow(FLOW, "bill.yml")}, spool=path / "spool", **options)


def answer(recorder: Recorder, instance: str, step: str, given: dict[str, Any]) -> None:
    """One request of the flow: what the customer saw in a step."""
    with recorder.flow("bill_inquiry", instance=instance) as flow, flow.step(step) as passage:
        passage.answer(given)


def written(path: Path) -> list[tuple[str, Verdict, tuple[CheckResult, ...]]]:
    reader, found = SpoolReader(path / "spool"), []
    for source in reader.sources():
        for batch in reader.read(source, ResumePoint()).batches:
            for record in batch.records:
                key = batch.series[record["series"]]
                results = check_results(int(record["checks"]), len(key.checks))
                found.append((key.step, Verdict(record["verdict"]), results))
    return found


PASS, FAIL, NOT = CheckResult.PASS, CheckResult.FAIL, CheckResult.NOT_EVALUATED


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("total", "verdict", "result"), [("12.34", Verdict.GOOD, PASS), ("12.35", Verdict.WRONG, FAIL)]
)
def test_the_later_answer_is_judged_against_the_earlier(
    tmp_path: Path, later: bool, total: str, verdict: Verdict, result: CheckResult
) -> None:
    with made(tmp_path, judge_later=later) as recorder:
        answer(recorder, "one", "bill_total", {"total": total})
        answer(recorder, "two", "bill_total", {"total": "99.99"})
        answer(recorder, "one", "bill_details", DETAILS)
        assert recorder.flush(30)
        assert recorder.drops() == {}
    assert written(tmp_path) == [
        ("bill_total", Verdict.GOOD, (PASS, NOT)),
        ("bill_total", Verdict.GOOD, (PASS, NOT)),
        ("bill_details", verdict, (PASS, result)),
    ]


def test_both_sides_may_be_recorded_in_different_processes(tmp_path: Path) -> None:
    with made(tmp_path) as recorder:
        answer(recorder, "one", "bill_total", {"total": "12.35"})
        assert recorder.flush(30)
        child = os.fork()
        if not child:
            answer(recorder, "one", "bill_details", DETAILS)
            os._exit(0 if recorder.close(30) else 1)
        assert os.waitpid(child, 0)[1] == 0
        answer(recorder, "two", "bill_total", {"total": "1"})
    assert sorted(written(tmp_path)) == [
        ("bill_details", Verdict.WRONG, (PASS, FAIL)),
        ("bill_total", Verdict.GOOD, (PASS, NOT)),
        ("bill_total", Verdict.GOOD, (PASS, NOT)),
    ]


def test_only_the_total_was_shown_is_incomplete(tmp_path: Path) -> None:
    with made(tmp_path) as recorder:
        answer(recorder, "one", "bill_total", {"total": "12.34"})
        answer(recorder, "one", "bill_details", {"details": []})
    assert written(tmp_path)[1] == ("bill_details", Verdict.INCOMPLETE, (FAIL, FAIL))


def test_no_amount_is_on_disk(tmp_path: Path) -> None:
    with made(tmp_path) as recorder:
        answer(recorder, "one", "bill_total", {"total": "918273.64"})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert b"918273" not in path.read_bytes()


@pytest.mark.parametrize("missing", ["tokens", "across"])
def test_without_key_or_file_these_checks_are_not_evaluated(tmp_path: Path, missing: str) -> None:
    with made(tmp_path, **{missing: None}) as recorder:
        answer(recorder, "one", "bill_total", {"total": "1"})
        answer(recorder, "one", "bill_details", DETAILS)
        assert recorder.flush(30)
        assert recorder.drops() == {}
    assert written(tmp_path)[1] == ("bill_details", Verdict.GOOD, (PASS, NOT))


def test_a_file_that_cannot_be_opened_leaves_the_rest_judged(tmp_path: Path) -> None:
    (tmp_path / "across.sqlite3").mkdir()
    with made(tmp_path) as recorder:
        answer(recorder, "one", "bill_total", {"total": "5"})
        assert recorder.flush(30)
        assert recorder.drops() == {"internal_error": 1}
    assert written(tmp_path) == [("bill_total", Verdict.GOOD, (PASS, NOT))]


def test_the_host_of_a_recorder_loads_no_servers_and_no_drivers(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.metrics.specification.flow import parse_flow
path = Path({str(tmp_path)!r})
tokens = CustomerTokens([CustomerKey(1, b"k" * 32)])
flows = {{"bill_inquiry": parse_flow({FLOW!r}, "bill.yml")}}
recorder = Recorder(flows=flows, spool=path / "spool", tokens=tokens, across=path / "across.sqlite3")
with recorder.flow("bill_inquiry") as flow:
    with flow.step("bill_total") as step: step.answer({{"total": "12.34"}})
    with flow.step("bill_details") as step: step.answer({DETAILS!r})
recorder.close()
assert (path / "across.sqlite3").exists(), "the check between the steps was not judged"
heavy = {{"google.protobuf", "psycopg", "httpx2", "starlette", "uvicorn", "prometheus_client"}}
print(*sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout == "\n"


def test_closing_lets_go_of_the_file(tmp_path: Path) -> None:
    with made(tmp_path) as recorder:
        answer(recorder, "one", "bill_total", {"total": "1"})
        assert recorder.flush(30)
    names = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert tmp_path / "across.sqlite3" not in names

"""What the tutorial tells people to type and to save works as written."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxgauge.collectors.spool import ResumePoint, SpoolReader
from cxgauge.metrics.observation import ObservationBatch, check_results
from cxgauge.metrics.specification.template import write_project
from cxgauge.metrics.verdict import CheckResult, Verdict

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "tutorial.md").read_text(encoding="utf-8")
CHINESE = (DOCS / "tutorial.zh.md").read_text(encoding="utf-8")
MAKE_LOG, BILL = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(PATTERN,) = re.findall(r"--pattern '(.*?)'", TEXT)
RECORDER = "recorder:\n  customer_key_file: customer.key\n"


def test_the_pattern_reads_the_log(tmp_path: Path) -> None:
    short = MAKE_LOG.replace("26 * 3600", "2")
    assert short != MAKE_LOG
    done = subprocess.run([sys.executable, "-c", short], check=True, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    shown = next(line for line in TEXT.splitlines() if re.match(r"\d{4}-.* bill_details status=", line))
    found = [re.search(PATTERN, line) for line in [*lines, shown]]
    assert [match and match["step"] for match in found] == [*["bill_total", "bill_details"] * 2, "bill_details"]


@pytest.mark.parametrize("fault", [None, "wrong"])
def test_the_program_records_what_its_specification_asks_for(tmp_path: Path, fault: str | None) -> None:
    write_project(tmp_path, ("bill_inquiry",))
    assert RECORDER in TEXT
    with (tmp_path / "cxgauge.yml").open("a", encoding="utf-8") as config:
        config.write(RECORDER)
    (tmp_path / "customer.key").write_text("1:" + "5a" * 32)
    (tmp_path / "customer.key").chmod(0o600)
    program = BILL.replace("random.lognormvariate(0, 0.25)", "0").replace("time.sleep(max", "(max")
    program = program.replace("random.random() < 0.05", "True")
    if fault is not None:
        (tmp_path / fault).touch()
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path) as process:
        try:
            batches = recorded(tmp_path / "data" / "spool", process)
        finally:
            process.kill()
    failed: set[str] = set()
    passed: set[str] = set()
    verdicts: set[int] = set()
    for batch in batches:
        for record in batch.records:
            key = batch.series[record["series"]]
            for name, result in zip(key.checks, check_results(int(record["checks"]), len(key.checks)), strict=True):
                assert result is not CheckResult.UNKNOWN, name
                (failed if result is CheckResult.FAIL else passed if result is CheckResult.PASS else set()).add(name)
            verdicts.add(Verdict(record["verdict"]))
            assert any(bytes(record["customer"]))
    sums = {"total_is_sum_of_details", "all_details_shown", "total_equals_details"}
    assert passed | failed == sums | {
        "total_shown",
        "total_plausible",
        "currency_known",
        "as_of_recent",
        "details_shown",
    }
    assert failed == (set() if fault is None else sums)
    assert verdicts == ({Verdict.GOOD} if fault is None else {Verdict.GOOD, Verdict.WRONG})


def recorded(spool: Path, process: subprocess.Popen[bytes]) -> list[ObservationBatch]:
    """What the program has written, once both steps are there."""
    reader = SpoolReader(spool)
    while process.poll() is None:
        batches = [batch for source in reader.sources() for batch in reader.read(source, ResumePoint()).batches]
        if {key.step for batch in batches for key in batch.series} == {"bill_total", "bill_details"}:
            return batches
        time.sleep(0.05)
    raise AssertionError(f"the program ended with {process.returncode}")


def test_both_languages_tell_to_type_and_to_save_the_same() -> None:
    def told(text: str) -> tuple[list[str], list[str]]:
        typed = [re.sub(r" --note .*| +#.*", "", line) for line in re.findall(r"^\$ (.*)", text, re.MULTILINE)]
        shortened = [re.sub(r"(alerts \w+) \w{4}$", r"\1 ID", line) for line in typed]
        return shortened, re.findall(r"```(?:python|yaml)\n(?s:.*?)```|--pattern .*", text)

    assert told(CHINESE) == told(TEXT)

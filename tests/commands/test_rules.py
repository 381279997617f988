from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cxgauge.__main__ import application

FLOW = """\
name: {name}
title: {{en: Bill inquiry, zh: 账单查询}}
owner: cards
steps:
  - name: bill_total
    title: {{en: Total, zh: 账单总额}}
    timeliness: {{target: {target}, objective: 0.95}}
"""
FILES = [
    "bill_inquiry.rules.yml",
    "tests/bill_inquiry.test.yml",
    "tests/bill_inquiry.no_data.test.yml",
    "cxgauge.ruler.rules.yml",
    "tests/cxgauge.ruler.test.yml",
]


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(application(), ["rules", *map(str, arguments)])


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    directory = tmp_path / "flows"
    directory.mkdir()
    write(directory, "bill_inquiry")
    return directory


def write(directory: Path, name: str, objective: str = "0.95", target: str = "1s") -> None:
    text = FLOW.format(name=name, target=target).replace("0.95", objective)
    (directory / f"{name}.yml").write_text(text, encoding="utf-8")


def test_files_are_written_once_and_then_found_right(flows: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    first = run("prometheus", "--flows", flows, "-o", rules)
    assert (first.exit_code, first.stdout) == (0, "".join(f"wrote {rules / name}\n" for name in FILES))
    again = run("prometheus", "--flows", flows, "-o", rules)
    assert (again.exit_code, again.stdout) == (0, "5 unchanged\n")
    checked = run("check", rules, "--flows", flows)
    assert (checked.exit_code, checked.stdout) == (0, "5 files are what the specification says.\n")
    assert sorted(str(file.relative_to(rules)) for file in rules.rglob("*.yml")) == sorted(FILES)


def test_tests_begin_when_they_are_told_to(flows: Path, tmp_path: Path) -> None:
    rules, start = tmp_path / "rules", ("--tests-start", "2026-01-05T08:00:00+08:00")
    assert run("prometheus", "--flows", flows, "-o", rules, *start).exit_code == 0
    for name in FILES:
        document = yaml.safe_load((rules / name).read_text(encoding="utf-8"))
        assert "start_timestamp" not in document
        for case in document.get("tests", []):
            assert case["start_timestamp"] == "2026-01-05T00:00:00Z"
    assert run("check", rules, "--flows", flows, *start).exit_code == 0
    assert run("check", rules, "--flows", flows).exit_code == 1


@pytest.mark.parametrize("text", ["yesterday", "2026-01-05", "2026-01-05T00:00:00"])
def test_a_start_that_is_no_time_is_refused(flows: Path, tmp_path: Path, text: str) -> None:
    result = run("prometheus", "--flows", flows, "-o", tmp_path, "--tests-start", text)
    assert result.exit_code == 1
    assert result.stderr == (
        f"--tests-start {text!r} is not a time with its zone; write it like 2026-01-05T00:00:00Z\n"
    )


def test_what_is_printed_are_the_rule_files_as_documents(flows: Path) -> None:
    result = run("prometheus", "--flows", flows)
    groups = [group["name"] for document in yaml.safe_load_all(result.stdout) for group in document["groups"]]
    assert result.exit_code == 0
    assert groups == [f"cxgauge_bill_inquiry_{part}" for part in ("recorded", "budgets", "deviations")] + [
        "cxgauge_ruler"
    ]


def test_a_changed_objective_is_a_difference_with_its_line(flows: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    run("prometheus", "--flows", flows, "--no-tests", "-o", rules)
    lines = (rules / "bill_inquiry.rules.yml").read_text(encoding="utf-8").splitlines()
    write(flows, "bill_inquiry", objective="0.99")
    result = run("check", rules, "--flows", flows, "--no-tests")
    number = next(number for number, line in enumerate(lines, 1) if "> 0.72 " in line)
    found, wanted = lines[number - 1].strip(), lines[number - 1].strip().replace("> 0.72 ", "> 0.144 ")
    file = rules / "bill_inquiry.rules.yml"
    assert result.exit_code == 1
    assert result.stdout == f"{file}: line {number} is {found!r}; the specification says {wanted!r}\n"
    assert result.stderr == f"1 differ; write them with: cxgauge rules prometheus -o {rules}\n"


def test_missing_and_left_over_files_are_differences_and_other_peoples_files_are_not(
    flows: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "rules"
    write(flows, "transfer")
    run("prometheus", "--flows", flows, "-o", rules)
    (flows / "transfer.yml").unlink()
    (rules / "cxgauge.ruler.rules.yml").unlink()
    own = rules / "node.rules.yml"
    own.write_text("groups: []\n", encoding="utf-8")
    result = run("check", rules, "--flows", flows)
    assert (result.exit_code, result.stdout.splitlines()) == (
        1,
        [
            f"{rules}/cxgauge.ruler.rules.yml: is missing",
            f"{rules}/transfer.rules.yml: its flow is not in the specification",
            f"{rules}/tests/transfer.no_data.test.yml: its flow is not in the specification",
            f"{rules}/tests/transfer.test.yml: its flow is not in the specification",
        ],
    )
    mended = run("prometheus", "--flows", flows, "-o", rules)
    assert (mended.exit_code, mended.stdout.splitlines()) == (
        0,
        [
            f"wrote {rules}/cxgauge.ruler.rules.yml",
            f"removed {rules}/transfer.rules.yml",
            f"removed {rules}/tests/transfer.no_data.test.yml",
            f"removed {rules}/tests/transfer.test.yml",
            "4 unchanged",
        ],
    )
    assert own.read_text(encoding="utf-8") == "groups: []\n"
    assert run("check", rules, "--flows", flows).exit_code == 0


def test_a_faulty_specification_writes_nothing(flows: Path, tmp_path: Path) -> None:
    write(flows, "bill_inquiry", target="fast")
    result = run("prometheus", "--flows", flows, "-o", tmp_path / "rules")
    place = f"{flows / 'bill_inquiry.yml'}:7: steps[0].timeliness.target"
    assert result.exit_code == 1
    assert result.stderr == f"{place}='fast' is not a duration; write seconds, e.g. 1.0s\n"
    assert not (tmp_path / "rules").exists()


def test_a_folder_that_cannot_be_written(flows: Path, tmp_path: Path) -> None:
    occupied = tmp_path / "rules"
    occupied.write_text("", encoding="utf-8")
    result = run("prometheus", "--flows", flows, "-o", occupied)
    assert result.exit_code == 1
    assert result.stderr == f"{occupied} cannot be written (File exists); choose another --output\n"

"""``cxgauge backtest --flow`` and ``cxgauge events`` against a store."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.examples.bank import FLOWS_DIRECTORY
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

START = 1_767_225_600.0
HOURS, SLOW_MINUTES = 6, 60


@pytest.fixture
def config(migrated_embedded_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    parts = {name: str(value) for name, value in conninfo_to_dict(migrated_embedded_dsn).items()}
    monkeypatch.setenv("CXGAUGE_TEST_PASSWORD", parts.pop("password", ""))
    secret = "password: env:CXGAUGE_TEST_PASSWORD, " if "password" in conninfo_to_dict(migrated_embedded_dsn) else ""
    path = tmp_path / "cxgauge.yml"
    path.write_text(
        f"database: {{{secret}dsn: {json.dumps(make_conninfo(**parts))}}}\n"
        f"flows: {{directory: {FLOWS_DIRECTORY}}}\ndetection: {{minimum_history_days: 0.1}}\n",
        encoding="utf-8",
    )
    return path


def write_story(dsn: str) -> None:
    """Six hours of a step, then an hour whose second half is slower by half."""
    rng = np.random.default_rng(1)
    size = 100 * (HOURS * 60 + SLOW_MINUTES)
    records = np.zeros(size, dtype=RECORD)
    minute = np.sort(rng.random(size)) * (HOURS * 60 + SLOW_MINUTES)
    records["observed_at_us"] = (START + 60 * minute) * 1e6
    slow = minute >= HOURS * 60 + SLOW_MINUTES / 2
    records["duration_seconds"] = np.exp(rng.normal(0, 0.4, size)) * np.where(slow, 1.5, 1.0)
    batch = ObservationBatch((SeriesKey("transfer", "confirm", (), ()),), records)
    with Store.open(dsn) as store:
        store.migrate()
        store.write([batch], "test", StoredPosition(), StoredPosition(1, 1))


class Tags(HTMLParser):
    """Counts tags, and notes addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(application(), [str(each) for each in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_stored_past_is_judged_and_drawn(migrated_embedded_dsn: str, config: Path, tmp_path: Path) -> None:
    write_story(migrated_embedded_dsn)
    picture = tmp_path / "picture.html"
    span = ("--from", "2026-01-01T06:00", "--to", "2026-01-01T07:00", "--config", config)
    code, out, error = run("backtest", "--flow", "transfer", *span, "-o", picture)
    assert (code, error) == (0, "")
    table = out.splitlines()
    assert table[0].split("  ")[0] == "scope"
    assert any(line.startswith("confirm") and "slower" in line and "2026-01-01 06:3" in line for line in table[1:])
    tags = Tags(picture.read_text(encoding="utf-8"))
    assert tags.count["svg"] == 1
    assert tags.count["rect"] >= 1
    assert (tags.addresses, tags.count.get("script")) == ([], None)


def test_table_and_picture_in_chinese_with_events_marked(
    migrated_embedded_dsn: str, config: Path, tmp_path: Path
) -> None:
    write_story(migrated_embedded_dsn)
    for title, at, flow in (("core 3.1", "2026-01-01T06:28", "transfer"), ("other", "2026-01-01T06:10", "log_in")):
        run("events", "add", title, "--at", at, "--flow", flow, "--config", config)
    picture = tmp_path / "picture.html"
    span = ("--from", "2026-01-01T06:00", "--to", "2026-01-01T07:00", "--config", config)
    code, out, error = run("backtest", "--flow", "transfer", *span, "--language", "zh", "-o", picture)
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["范围", "类型", "开始", "发现", "变化", "95%", "置信区间", "延迟", "理论下限", "结束"]
    assert any("变慢" in line and "2026-01-01 06:3" in line for line in lines[1:])
    assert "此前历史 0.25 天" in out
    text = picture.read_text(encoding="utf-8")
    assert "lang=zh-CN" in text
    assert text.count("class=event") == 1
    assert "core 3.1" in text
    assert "other" not in text
    assert "中位数" in text
    assert "Alarms" not in text


@pytest.mark.parametrize(
    ("language", "kept", "left_out"),
    [
        ("en", "it is not seen to be broken", "1 alerts in incidents and maintenance were left out"),
        ("zh", "但也未见违背", "已排除事故和维护期间的 1 个告警"),
    ],
)
def test_the_promise_is_held_against_a_quiet_past(
    migrated_embedded_dsn: str, config: Path, language: str, kept: str, left_out: str
) -> None:
    write_story(migrated_embedded_dsn)
    quiet = ("--from", "2026-01-01T05:00", "--to", "2026-01-01T06:00")
    common = ("backtest", "--flow", "transfer", "--nulls", "--language", language, "--config", config)
    code, out, error = run(*common, *quiet)
    assert (code, error) == (0, "")
    assert out.splitlines()[-1].endswith(kept)
    assert "0.00" in out.splitlines()[-2]
    assert left_out[2:] not in out
    whole = ("--from", "2026-01-01T06:00", "--to", "2026-01-01T07:00")
    broken = run(*common, *whole, "--false-alarms-per-series-month", 0.01)[1]
    alarms = "more than promised" if language == "en" else "超出承诺"
    assert alarms in broken
    window = ("--at", "2026-01-01T06:25", "--ended-at", "2026-01-01T07:00")
    run("events", "add", "core", "--kind", "incident", *window, "--flow", "transfer", "--config", config)
    told = run(*common, *whole)[1]
    assert left_out in told
    assert told.splitlines()[-1].endswith(kept)


def test_what_cannot_be_judged(migrated_embedded_dsn: str, config: Path) -> None:
    write_story(migrated_embedded_dsn)
    backwards = run("backtest", "--flow", "transfer", "--from", "now", "--to", "2d", "--config", config)
    assert backwards == (1, "", "--to='2d' is not after --from='now'; swap them\n")
    early = run("backtest", "--flow", "transfer", "--from", "2025-01-01", "--to", "2025-01-02", "--config", config)
    assert early == (1, "", "nothing of transfer is stored before --from='2025-01-01' to learn from; begin later\n")
    both = run("backtest", "--flow", "transfer", "--history", "x.csv")
    assert (both[0], "leave out --history" in both[2]) == (2, True)


def test_events_are_added_changed_and_listed(config: Path) -> None:
    common = ("--id", "d-1", "--flow", "transfer", "--at", "2026-01-01T06:00", "--config", config)
    assert run("events", "add", "core 3.1", "--version", "3.1", "--detail", "ticket=C-7", *common) == (0, "d-1\n", "")
    assert run("events", "add", "core 3.1.1", "--version", "3.1.1", *common)[0] == 0
    code, out, _ = run("events", "list", "--from", "2026-01-01", "--to", "2026-01-02", "--config", config)
    assert (code, out) == (0, "2026-01-01 06:00:00  deployment  transfer  core 3.1.1\n")
    listed = run("events", "list", "--from", "2026-01-01", "--format", "json", "--config", config)[1]
    assert [(each["id"], each["at"], each["details"]) for each in json.loads(listed)] == [
        ("d-1", "2026-01-01T06:00:00Z", {})
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--kind", "party"],
            "kind: input should be 'deployment', 'configuration', 'campaign', 'incident' or 'maintenance'",
        ),
        (
            ["--at", "soon"],
            (
                "--at: 'soon' is not a time; write a day (2026-03-14), a time (2026-03-14T10:42), now, today, or 7d "
                "for seven days ago"
            ),
        ),
        (["--flow", "loan"], "--flow='loan' is not a flow; known are bill_inquiry, log_in, transfer"),
        (["--detail", "x"], "--detail='x' has no '='; write NAME=VALUE"),
        (["--step", "total"], "step needs a flow; name it, or leave step out"),
    ],
)
def test_events_that_are_refused(config: Path, arguments: list[str], message: str) -> None:
    assert run("events", "add", "x", *arguments, "--config", config) == (1, "", message + "\n")

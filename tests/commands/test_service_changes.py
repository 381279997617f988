"""What a reload changed, by names only."""

from __future__ import annotations

from pathlib import Path

from cxgauge.commands._service import changed_parts, load_installation
from cxgauge.examples.bank import FLOWS_DIRECTORY


def test_flows_and_sections_are_named_without_their_values(tmp_path: Path) -> None:
    flows, config = tmp_path / "flows", tmp_path / "cxgauge.yml"
    flows.mkdir()
    texts = {path.stem: path.read_text(encoding="utf-8") for path in FLOWS_DIRECTORY.glob("*.yml")}
    for name in ("log_in", "transfer"):
        (flows / f"{name}.yml").write_text(texts[name], encoding="utf-8")
    config.write_text("language: en\n", encoding="utf-8")
    before = load_installation(config)
    assert changed_parts(before, load_installation(config)) == {}
    (flows / "transfer.yml").unlink()
    (flows / "bill_inquiry.yml").write_text(texts["bill_inquiry"], encoding="utf-8")
    (flows / "log_in.yml").write_text(texts["log_in"] + "# a remark changes nothing\n", encoding="utf-8")
    config.write_text("language: zh\ncalendar: {paydays: [15]}\ndatabase: {dsn: env:SECRET}\n", encoding="utf-8")
    assert changed_parts(before, load_installation(config)) == {
        "flows_added": "bill_inquiry",
        "flows_removed": "transfer",
        "sections": "language, database, calendar",
    }

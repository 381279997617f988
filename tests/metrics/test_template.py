from __future__ import annotations

from pathlib import Path

import pytest

from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.flow import load_flows
from cxgauge.metrics.specification.template import (
    ExistingFileError,
    UnknownTemplateError,
    template_names,
    template_spec,
    template_text,
    write_project,
)

NAMES = ("bill_inquiry", "card_application", "loan_application", "log_in", "transfer", "wealth_purchase")


def test_the_templates_of_a_bank() -> None:
    assert template_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_called_after_its_flow_and_speaks_both_languages(name: str) -> None:
    spec = template_spec(name)
    assert spec.name == name
    titles = [spec.title, *(step.title for step in spec.steps), *(item.title for item in spec.dimensions)]
    titles += [check.title for step in spec.steps for check in step.checks]
    titles += [check.title for check in spec.across]
    for title in titles:
        assert title is not None
        assert any("\u4e00" <= letter <= "\u9fff" for letter in title.zh)
        assert title.en.isascii()


@pytest.mark.parametrize("name", NAMES)
def test_a_template_explains_itself_and_recognises_every_step(name: str) -> None:
    assert template_text(name).startswith("# ")
    assert all(step.match for step in template_spec(name).steps)
    assert any(step.checks for step in template_spec(name).steps)


def test_writing_a_project(tmp_path: Path) -> None:
    written, kept = write_project(tmp_path / "new", ("bill_inquiry",))
    assert written == [tmp_path / "new/cxgauge.yml", tmp_path / "new/flows/bill_inquiry.yml"]
    assert kept == []
    config = Config.load(tmp_path / "new/cxgauge.yml")
    assert list(load_flows(config.flows.directory)) == ["bill_inquiry"]


def test_flows_can_be_added_and_the_configuration_is_kept(tmp_path: Path) -> None:
    write_project(tmp_path, ("bill_inquiry",))
    (tmp_path / "cxgauge.yml").write_text("language: en\n", encoding="utf-8")
    written, kept = write_project(tmp_path, ("transfer", "log_in"))
    assert written == [tmp_path / "flows/transfer.yml", tmp_path / "flows/log_in.yml"]
    assert kept == [tmp_path / "cxgauge.yml"]
    assert (tmp_path / "cxgauge.yml").read_text(encoding="utf-8") == "language: en\n"


def test_nothing_is_overwritten_unless_forced(tmp_path: Path) -> None:
    write_project(tmp_path, ("bill_inquiry",))
    mine = tmp_path / "flows/bill_inquiry.yml"
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(ExistingFileError) as caught:
        write_project(tmp_path, ("bill_inquiry", "transfer"))
    assert str(caught.value) == f"{mine} exists already; choose another --directory, or overwrite with --force"
    assert mine.read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "flows/transfer.yml").exists()
    write_project(tmp_path, ("bill_inquiry",), force=True)
    assert mine.read_text(encoding="utf-8") == template_text("bill_inquiry")


@pytest.mark.parametrize("name", ["bill", "_cxgauge", "../templates/transfer"])
def test_an_unknown_template(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownTemplateError) as caught:
        write_project(tmp_path, (name,))
    assert str(caught.value) == f"template '{name}' does not exist; choose one of {', '.join(NAMES)}"
    assert list(tmp_path.iterdir()) == []

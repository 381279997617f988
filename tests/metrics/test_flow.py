from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from cxgauge.metrics.judge import judge
from cxgauge.metrics.specification.flow import (
    FlowSpec,
    SpanMatch,
    SpecificationError,
    TextMatch,
    load_flow,
    load_flows,
    parse_flow,
)
from cxgauge.metrics.specification.template import template_spec, template_text
from cxgauge.metrics.verdict import Verdict

HEAD = "name: bill\ntitle: {en: Bill, zh: 账单}\nowner: cards\nsteps:\n"
STEP = "  - {{name: {}, title: {{en: A, zh: 甲}}, timeliness: {{target: 1s}}{}}}\n"


def flow(*steps: tuple[str, str], more: str = "") -> FlowSpec:
    return parse_flow(HEAD + "".join(STEP.format(name, rest) for name, rest in steps) + more)


def test_bill_inquiry_as_it_is_written() -> None:
    bill = template_spec("bill_inquiry")
    assert (bill.name, bill.title.en, bill.title.zh, bill.owner) == (
        "bill_inquiry",
        "Bill inquiry",
        "账单查询",
        "card-services",
    )
    assert [step.name for step in bill.steps] == ["bill_total", "bill_details", "bill_dispute"]
    total = bill.step("bill_total")
    assert (total.timeliness.target_seconds, total.timeliness.objective) == (1.0, 0.95)
    assert (total.timeliness.timeout_seconds, total.accuracy_objective, total.good_objective) == (10.0, 0.9999, 0.94)
    assert total.check_names == ("total_shown", "total_plausible", "currency_known", "as_of_recent")
    assert [check.failure_verdict for check in total.checks] == [
        Verdict.INCOMPLETE,
        Verdict.WRONG,
        Verdict.WRONG,
        Verdict.STALE,
    ]
    assert total.values["total"].privacy == "C2"
    assert total.match[0].service == TextMatch(exact="bill-service")
    across = bill.across[0]
    assert (across.value_step, across.value_name, across.of_step, across.of_name) == (
        "bill_total",
        "total",
        "bill_details",
        "amounts",
    )
    assert (across.counted_step, across.within, across.failure_verdict) == ("bill_details", 1800.0, Verdict.WRONG)
    assert [check.name for check in bill.across_of("bill_dispute")] == ["disputed_item_was_shown"]
    assert bill.across[1].counted_step == "bill_dispute"


def test_titles_by_language() -> None:
    title = template_spec("transfer").title
    assert (title.in_language("en"), title.in_language("zh"), title.in_language("zh-CN")) == (
        "Transfer",
        "转账",
        "转账",
    )


def test_defaults_of_a_step() -> None:
    step = flow(("total", "")).steps[0]
    timeliness = step.timeliness
    assert (timeliness.timeout_seconds, timeliness.good_seconds, timeliness.slow_seconds) == (30.0, 1.0, 4.0)
    assert (timeliness.objective, step.accuracy_objective, step.good_objective) == (0.95, 0.999, 0.95)
    assert [timeliness.band(seconds) for seconds in (1.0, 1.01, 4.0, 4.01)] == ["good", "slow", "slow", "very_slow"]


def test_a_slow_step_has_a_later_timeout() -> None:
    slow = parse_flow(HEAD + STEP.format("total", "").replace("target: 1s", "target: 20s")).steps[0].timeliness
    assert (slow.timeout_seconds, slow.slow_seconds) == (200.0, 80.0)


def test_steps_follow_in_order_over_optional_ones() -> None:
    found = flow(("a", ""), ("b", ", optional: true"), ("c", ", optional: true"), ("d", ""))
    assert [found.following(name) for name in "abcd"] == [("b", "c", "d"), ("c", "d"), ("d",), ()]


def test_branching() -> None:
    found = flow(("a", ", next: [c, b]"), ("b", ", next: []"), ("c", ""))
    assert [found.following(name) for name in "abc"] == [("c", "b"), (), ()]


def test_an_unknown_step_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        flow(("a", "")).step("b")


def test_alert_routing_falls_back_from_step_to_flow() -> None:
    found = flow(
        ("a", ", alerts: {owner: core, severity: info, notifiers: [pager], runbook: 'https://r/a'}"),
        ("b", ""),
        more="alerts: {severity: critical, notifiers: [chat]}\n",
    )
    assert (found.alert_owner("a"), found.alert_severity("a"), found.alert_notifiers("a")) == (
        "core",
        "info",
        ("pager",),
    )
    assert (found.alert_owner("b"), found.alert_severity("b"), found.alert_notifiers("b")) == (
        "cards",
        "critical",
        ("chat",),
    )
    assert (found.alert_owner(), found.alert_severity(), found.alert_runbook("a"), found.alert_runbook()) == (
        "cards",
        "critical",
        "https://r/a",
        None,
    )
    assert flow(("a", "")).alert_notifiers("a") is None
    assert flow(("a", "")).alert_severity("a") == "warning"


def test_span_matches_compare_as_text() -> None:
    text = ", match: [{service: {pattern: 'bill-.*'}, attributes: {http.status_code: 200, cached: true}}]"
    match: SpanMatch = flow(("a", text)).steps[0].match[0]
    assert match.service is not None
    assert [match.service.matches(name) for name in ("bill-service", "xbill-service", "bill")] == [True, False, False]
    assert match.attributes["http.status_code"].matches("200")
    assert match.attributes["cached"].matches("true")
    assert not match.attributes["cached"].matches("True")


def test_a_specification_is_frozen() -> None:
    found = template_spec("bill_inquiry")
    with pytest.raises(ValidationError, match="frozen"):
        found.name = "other"


def test_a_specification_travels_to_another_process() -> None:
    found = template_spec("bill_inquiry")
    step = found.step("bill_total")
    assert judge(step, 0.5, {"bill": {"total": 1}}, 0.0).outcomes
    travelled = pickle.loads(pickle.dumps(found))
    assert travelled == found
    assert travelled.dimension_values({"channel": "app"})[0] == ("channel", "app")
    assert judge(travelled.step("bill_total"), 0.5, None, 0.0) == judge(step, 0.5, None, 0.0)


def test_a_copy_counts_for_itself() -> None:
    found = template_spec("bill_inquiry")
    copied = found.model_copy(update={"owner": "others"})
    copied.dimension_values({"channel": "telex"})
    assert (found.dimension_overflow()["channel"], copied.dimension_overflow()["channel"]) == (0, 1)


def test_a_copy_forgets_what_was_derived() -> None:
    step = template_spec("bill_inquiry").step("bill_total")
    assert len(step.check_names) == 4
    assert step.model_copy(update={"checks": step.checks[:1]}).check_names == ("total_shown",)


def test_load_a_folder(tmp_path: Path) -> None:
    for name in ("transfer", "bill_inquiry"):
        (tmp_path / f"{name}.yml").write_text(template_text(name), encoding="utf-8")
    (tmp_path / "_draft.yml").write_text("not: finished", encoding="utf-8")
    (tmp_path / ".hidden.yml").write_text("not: finished", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not yaml", encoding="utf-8")
    assert list(load_flows(tmp_path)) == ["bill_inquiry", "transfer"]
    assert list(load_flows(tmp_path / "transfer.yml")) == ["transfer"]
    assert load_flow(tmp_path / "transfer.yml").name == "transfer"


def test_load_tells_the_faults_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(HEAD.replace("cards", "3") + STEP.format("total", ""), encoding="utf-8")
    (tmp_path / "b.yml").write_text(HEAD.replace("name: bill", "name: Bill") + STEP.format("x", ""), encoding="utf-8")
    with pytest.raises(SpecificationError) as caught:
        load_flows(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/a.yml:3: owner='3' is not text; put it in quotes\n"
        f"{tmp_path}/b.yml:1: name='Bill' is not a name; write lower-case letters, digits and _ (at most 63), "
        "e.g. bill_total"
    )
    assert [(Path(fault.path).name, fault.line, fault.place) for fault in caught.value.faults] == [
        ("a.yml", 3, "owner"),
        ("b.yml", 1, "name"),
    ]


def test_two_files_of_one_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yml").write_text(HEAD + STEP.format("total", ""), encoding="utf-8")
    with pytest.raises(SpecificationError) as caught:
        load_flows(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/b.yml:1: name='bill' is the flow of {tmp_path}/a.yml already; choose another name"
    )


def test_an_empty_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError) as caught:
        load_flows(tmp_path)
    assert str(caught.value) == (f"{tmp_path}: has no *.yml file; write one, e.g. cxgauge init --template bill_inquiry")
    with pytest.raises(SpecificationError) as caught:
        load_flows(tmp_path / "none.yml")
    assert str(caught.value) == (
        f"{tmp_path}/none.yml: cannot be read (No such file or directory); check the path and its permissions"
    )

"""The dashboards as data: what every panel has, what it may ask, and that they stay as they are."""

from __future__ import annotations

import importlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from cxgauge.dashboards.grafana.boards import dashboards
from cxgauge.dashboards.grafana.files import compare, provisioning_files, write_files
from cxgauge.dashboards.grafana.frame import flow_uid
from cxgauge.dashboards.grafana.sql import case, dimension_filter, literal, quoted
from cxgauge.examples.bank import FLOWS_DIRECTORY
from cxgauge.metrics.specification.flow import FlowSpec, load_flows
from cxgauge.metrics.translation import LANGUAGES

GOLDEN = Path(__file__).parent / "golden" / "grafana"
EVERYWHERE = {"timeseries", "stat", "table", "bargauge", "text", "heatmap"}  # in every Grafana from 7.5 on
MAY_ASK = {
    "series", "alerts", "deviations", "events", "baseline_bands", "rollup_rows", "step_timeseries", "quantiles",
    "quantile_timeseries", "check_timeseries", "distribution", "dimension_summary", "timeseries_rows",
    "instance_rollups",
}  # fmt: skip
BOARDS: dict[str, dict[str, dict[str, Any]]] = {
    language: dashboards(load_flows(FLOWS_DIRECTORY), language) for language in LANGUAGES
}


def panels(language: str = "en") -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{uid}: {panel['title']}", panel)
        for uid, board in BOARDS[language].items()
        for panel in board["panels"]
        if panel["type"] != "row"
    ]


def test_there_is_one_for_everything_and_one_a_flow() -> None:
    assert list(BOARDS["en"]) == [
        "cxgauge-overview",
        "cxgauge-flow-bill_inquiry",
        "cxgauge-flow-log_in",
        "cxgauge-flow-transfer",
        "cxgauge-step",
        "cxgauge-health",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_panel_works_on_every_version_and_says_what_to_do(language: str) -> None:
    faulty = []
    for name, panel in panels(language):
        if panel["type"] not in EVERYWHERE:
            faulty.append(f"{name}: type {panel['type']}")
        if len(panel["description"]) < 10:
            faulty.append(f"{name}: no description")
        if panel["type"] != "text" and not (
            panel["fieldConfig"]["defaults"].get("noValue")
            and isinstance(panel["datasource"], str)
            and all(isinstance(target["datasource"], str) for target in panel["targets"])
        ):
            faulty.append(f"{name}: no text without data, or a datasource that Grafana 7.5 does not find")
    assert faulty == []


def test_panels_ask_rollups_and_never_observations() -> None:
    asked = set()
    for board in BOARDS["en"].values():
        asked |= set(
            re.findall(
                r"cxgauge\.(\w+)", " ".join(re.findall(r'"(?:rawSql|query)": "(.*?)(?<!\\)"', json.dumps(board)))
            )
        )
    assert asked == MAY_ASK


def test_every_unit_and_colour_is_stated() -> None:
    """A chart without unit or with Grafana's own palette is one nobody designed."""
    allowed = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8A8A8A"}
    text = json.dumps(BOARDS["en"])
    assert set(re.findall(r"#[0-9A-Fa-f]{6}", text)) <= allowed
    for name, panel in panels():
        if panel["type"] in ("timeseries", "stat", "bargauge"):
            assert panel["fieldConfig"]["defaults"]["unit"], name


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_texts_of_a_chinese_dashboard_are_english(language: str) -> None:
    """Titles and descriptions are in the language that was asked for."""
    chinese = re.compile("[一-鿿]")
    foreign = [
        name for name, panel in panels(language) if bool(chinese.search(panel["description"])) != (language == "zh")
    ]
    assert foreign == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_models_of_the_sdk_read_them(language: str) -> None:
    for board in BOARDS[language].values():
        data = json.loads(json.dumps(board))
        _refer(data)
        assert Dashboard.from_json(data).uid == board["uid"]


OLDER = {"timeseries": {"tooltipOptions"}}  # what 7.5 calls "tooltip"
LATER = {"heatmap": {"rowsFrame", "cellValues"}}  # optional, so that the model leaves them out when they are not set
COLUMNS = {"custom.displayMode": "custom.cellOptions"}  # of tables, before Grafana 10 and since


def test_options_are_those_that_the_models_know() -> None:
    """A misspelt option would be passed over in silence, by every version."""
    unknown = []
    for name, panel in panels():
        kind = panel["type"]
        model = importlib.import_module(f"grafana_foundation_sdk.models.{kind}").Options()
        known = set(model.to_json()) | OLDER.get(kind, set()) | LATER.get(kind, set())
        unknown += [f"{name}: {option}" for option in panel.get("options", {}) if option not in known]
    assert unknown == []


def test_a_heat_map_has_the_form_before_grafana_9_and_the_one_since() -> None:
    found = [panel for _, panel in panels() if panel["type"] == "heatmap"]
    assert len(found) == 1
    for panel in found:
        older = {key: panel[key] for key in ("dataFormat", "yBucketBound", "hideZeroBuckets")}
        assert older == {"dataFormat": "tsbuckets", "yBucketBound": "upper", "hideZeroBuckets": True}
        assert panel["yAxis"]["format"] == panel["options"]["yAxis"]["unit"] == "s"
        assert panel["color"]["colorScheme"] == f"interpolate{panel['options']['color']['scheme']}"
        assert panel["options"]["calculate"] is False
        assert panel["targets"][0]["format"] == "time_series"


def test_cells_are_coloured_before_grafana_10_and_since() -> None:
    for name, panel in panels():
        for override in panel.get("fieldConfig", {}).get("overrides", []):
            properties = {one["id"] for one in override["properties"]}
            for older, newer in COLUMNS.items():
                assert (older in properties) == (newer in properties), name


def _refer(data: Any) -> None:
    """Datasources by reference, as the models have them."""
    if isinstance(data, dict):
        if isinstance(data.get("datasource"), str):
            data["datasource"] = {"uid": data["datasource"]}
        for value in data.values():
            _refer(value)
    elif isinstance(data, list):
        for value in data:
            _refer(value)


@pytest.mark.parametrize("language", LANGUAGES)
def test_golden_files(flow: FlowSpec, language: str) -> None:
    """CXGAUGE_WRITE_GOLDEN=1 writes them anew; look at the difference before you commit it."""
    files = provisioning_files(dashboards({flow.name: flow}, "zh" if language == "zh" else "en"), [])
    files = {name: text for name, text in files.items() if language == "en" or name.endswith("flow-bill_inquiry.json")}
    if os.environ.get("CXGAUGE_WRITE_GOLDEN"):
        write_files(files, GOLDEN / language)
    assert compare(files, GOLDEN / language) == []


def test_files_are_written_once_and_those_of_gone_flows_removed(flow: FlowSpec, tmp_path: Path) -> None:
    files = provisioning_files(dashboards({flow.name: flow}), [])
    gone = tmp_path / "dashboards/cxgauge/cxgauge-flow-gone.json"
    gone.parent.mkdir(parents=True)
    gone.write_text("{}")
    (gone.parent / "mine.json").write_text("{}")
    assert sorted(write_files(files, tmp_path)) == sorted([*files, "dashboards/cxgauge/cxgauge-flow-gone.json"])
    assert write_files(files, tmp_path) == []
    assert (gone.parent / "mine.json").exists()
    (tmp_path / "dashboards/cxgauge/cxgauge-step.json").write_text("{}")
    assert compare(files, tmp_path) == [
        f"{tmp_path}/dashboards/cxgauge/cxgauge-step.json differs from the specification"
    ]


def test_no_flows_is_said_and_not_drawn() -> None:
    with pytest.raises(ValueError, match=r"^there are no flows to make dashboards of; write one: cxgauge init$"):
        dashboards({})


def test_names_cannot_leave_their_literal() -> None:
    assert literal("O'Neil $flow [[x]]") == "'O''Neil '||chr(36)||'flow ['||'[x]]'"
    assert quoted('a "b" $c') == 'a ""b"" ＄c'
    assert case("kind", {"a": "A'"}) == "CASE kind WHEN 'a' THEN 'A''' ELSE kind END"
    assert case("kind", {}) == "kind"
    assert dimension_filter([]) == "'{}'::jsonb"
    assert dimension_filter(["channel"]) == (
        "jsonb_strip_nulls(jsonb_build_object('channel', nullif(${channel:sqlstring}, '*')))"
    )


def test_uids_are_as_long_as_grafana_allows() -> None:
    assert flow_uid("bill") == "cxgauge-flow-bill"
    long = flow_uid("x" * 64)
    assert len(long) <= 40
    assert long != flow_uid("x" * 63)

"""What all dashboards share: variables, annotations, links, and the form that every Grafana from 7.5 on reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from ...metrics.specification.flow import FlowSpec
from ...metrics.translation import Language, Translator, translator
from .older_heatmap import HEATMAP_BEFORE_9
from .palette import BAD, LINES
from .panels import POSTGRES, Header, PostgresQuery
from .sql import FROM, SCHEMA, TO, case, literal

__all__ = ["Wording", "annotate", "dimension_variable", "flow_uid", "new_dashboard", "query_variable", "to_json"]

OVERVIEW, STEP, HEALTH = "cxgauge-overview", "cxgauge-step", "cxgauge-health"
TAG = "cxgauge"
EVERYTHING = "*"
_SCHEMA_VERSION = 27  # of Grafana 7.5; newer ones bring it up to their own
_UID_LIMIT = 40


@dataclass(frozen=True, slots=True)
class Wording:
    """Texts of the dashboards in one language."""

    translator: Translator

    @classmethod
    def of(cls, language: Language) -> Wording:
        """The wording of ``language``."""
        return cls(translator(Path(__file__).parent / "locale", language))

    @property
    def language(self) -> Language:
        """Its language."""
        return self.translator.language

    def text(self, message: str, /, **values: Any) -> str:
        """``message`` in the language."""
        return self.translator.text(message, **values)

    def no_data(self) -> str:
        """What a panel without data says."""
        return self.text("no data")

    def header(self, title: str, description: str, width: int, height: int) -> Header:
        """A panel's head, from texts that are translated already."""
        return Header(title, description, width, height)

    def kinds(self) -> dict[str, str]:
        """Kinds of deviations."""
        return {
            "slower": self.text("slower"),
            "tail": self.text("more slow answers"),
            "failing": self.text("more failures"),
            "silent": self.text("no data"),
            "faster": self.text("faster"),
            "improving": self.text("fewer failures"),
            "volume": self.text("other volume"),
            "mix": self.text("other mix"),
            "creep": self.text("creeping slower"),
            "recovered": self.text("recovered"),
        }

    def severities(self) -> dict[str, str]:
        """Severities of alerts."""
        return {
            "critical": self.text("critical"),
            "warning": self.text("warning"),
            "info": self.text("for information"),
        }


def flow_uid(flow: str) -> str:
    """The uid of a flow's dashboard; at most 40 characters, as Grafana wants."""
    uid = f"cxgauge-flow-{flow}"
    return uid if len(uid) <= _UID_LIMIT else f"cxgauge-flow-{hashlib.sha256(flow.encode()).hexdigest()[:20]}"


def new_dashboard(words: Wording, uid: str, title: str, description: str, tags: Sequence[str] = ()) -> Any:
    """An empty dashboard with the links that lead to the others."""
    board = builder.Dashboard(title).uid(uid).description(description).tags([TAG, *tags]).timezone("browser")
    board.time("now-24h", "now").refresh("1m").tooltip(dashboard.DashboardCursorSync.CROSSHAIR).editable()
    for target, name in ((OVERVIEW, words.text("Overview")), (STEP, words.text("Step detail"))):
        link = builder.DashboardLink(name).type(dashboard.DashboardLinkType.LINK).url(f"/d/{target}")
        board.link(link.keep_time(True).include_vars(False).target_blank(False).as_dropdown(False).icon("dashboard"))
    flows = builder.DashboardLink(words.text("Flows")).type(dashboard.DashboardLinkType.DASHBOARDS)
    board.link(flows.tags([f"{TAG}-flow"]).as_dropdown(True).keep_time(True).include_vars(False).icon("external link"))
    health = builder.DashboardLink(words.text("Health of the ruler")).type(dashboard.DashboardLinkType.LINK)
    return board.link(health.url(f"/d/{HEALTH}").keep_time(True).icon("bolt"))


def query_variable(name: str, label: str, query: str, first: tuple[str, str] | None = None) -> Any:
    """A variable whose choices are asked for whenever the span changes; ``first`` is the text and value to begin with."""
    variable = (
        builder.QueryVariable(name).label(label).query(query).datasource(common.DataSourceRef("postgres", POSTGRES))
    )
    variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.DISABLED)
    variable.include_all(False).multi(False).hide(dashboard.VariableHide.DONT_HIDE).definition(query)
    if first is not None:
        variable.current(dashboard.VariableOption(selected=True, text=first[0], value=first[1]))
    return variable


def dimension_variable(words: Wording, flow: FlowSpec, name: str, label: str) -> Any:
    """The values of a dimension that occur, and all of them."""
    query = (  # two columns and no more: with a third, Grafana 7.5 does not tell text from value
        f"SELECT __text, __value FROM (SELECT {literal(words.text('all'))} AS __text, '{EVERYTHING}' AS __value, 0 AS rank UNION "
        f"SELECT dimensions ->> {literal(name)}, dimensions ->> {literal(name)}, 1 FROM {SCHEMA}.series "
        f"WHERE flow = {literal(flow.name)} AND dimensions ? {literal(name)}) AS found ORDER BY rank, 1"
    )
    return query_variable(name, label, query, (words.text("all"), EVERYTHING))


def annotate(board: Any, words: Wording, flow: str, step: str = "NULL") -> None:
    """Deviations, and releases and other events, drawn into every chart; ``flow`` and ``step`` are SQL."""
    kind = case("kind", words.kinds())
    scope = f"(flow = {flow} OR {flow} IS NULL) AND (step IS NULL OR step = {step} OR {step} IS NULL)"
    deviations = (
        f"SELECT extract(epoch FROM started_at)::int8 AS time, extract(epoch FROM detected_at)::int8 AS timeend, "
        f"concat_ws(' · ', step, check_name, {kind}) AS text, severity AS tags FROM (SELECT d.*, a.severity "
        f"FROM {SCHEMA}.deviations AS d JOIN {SCHEMA}.alerts AS a USING (alert_id)) AS d "
        f"WHERE {scope} AND started_at < {TO} AND detected_at >= {FROM} ORDER BY 1 LIMIT 200"
    )
    events = (
        f"SELECT extract(epoch FROM at)::int8 AS time, extract(epoch FROM coalesce(ended_at, at))::int8 AS timeend, "
        f"title AS text, kind AS tags FROM {SCHEMA}.events WHERE (flow IS NULL OR flow = {flow} OR {flow} IS NULL) "
        f"AND (step IS NULL OR step = {step} OR {step} IS NULL) AND at < {TO} AND coalesce(ended_at, at) >= {FROM} "
        "ORDER BY 1 LIMIT 200"
    )
    named = ((words.text("Deviations"), deviations, BAD), (words.text("Releases and events"), events, LINES[0]))
    for name, statement, colour in named:
        note = builder.AnnotationQuery().name(name).datasource(common.DataSourceRef("postgres", POSTGRES))
        query: Any = PostgresQuery(statement, "table", "Anno")
        board.annotation(note.enable(True).icon_color(colour).target(query))


def to_json(board: Any) -> dict[str, Any]:
    """The dashboard as plain data, in the form that every Grafana from 7.5 on reads.

    Datasources are referred to by name (newer ones find them by it, or turn it into a uid); annotations carry
    their statement where 7.5 looks for it too; panels have numbers, so that a second export is the same.
    """
    data: dict[str, Any] = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    data["schemaVersion"] = _SCHEMA_VERSION
    data["id"] = None
    _name_datasources(data)
    for number, panel in enumerate(data.get("panels", []), 1):
        panel["id"] = number
        if panel["type"] == "heatmap":
            panel.update({key: value for key, value in HEATMAP_BEFORE_9.items() if key not in panel})
        if panel["type"] == "timeseries":  # the name that 7.5 has for it
            panel["options"]["tooltipOptions"] = panel["options"]["tooltip"]
    for note in data.setdefault("annotations", {}).setdefault("list", []):
        note["rawQuery"] = note["target"]["rawSql"]
    for variable in data.get("templating", {}).get("list", []):
        variable.setdefault("skipUrlSync", False)
    return data


def _name_datasources(data: Any) -> None:
    if isinstance(data, dict):
        reference = data.get("datasource")
        if isinstance(reference, dict) and "uid" in reference:
            data["datasource"] = reference["uid"]
        for value in data.values():
            _name_datasources(value)
    elif isinstance(data, list):
        for value in data:
            _name_datasources(value)

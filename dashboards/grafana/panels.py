"""Panels in the project's style, of the six types that every Grafana from 7.5 on has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from grafana_foundation_sdk.builders import bargauge, stat, table, text, timeseries
from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.builders import prometheus as prometheus_builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import text as text_model

from .palette import LINES

__all__ = [
    "PERCENT",
    "POSTGRES",
    "PROMETHEUS",
    "Column",
    "Header",
    "PanelBuilder",
    "PostgresQuery",
    "bars",
    "chart",
    "dress",
    "figures",
    "note",
    "promql",
    "rows",
    "sql",
]

POSTGRES, PROMETHEUS = "cxgauge-timescaledb", "cxgauge-prometheus"
"""Name and uid of the datasources: equal, because Grafana 7.5 refers by name and newer ones by uid."""

PanelBuilder = Any  # a builder of the SDK; what its classes share, it has no type for
PERCENT = "suffix: %"
"""Unit of rates in charts, times 100: with its own units for percent Grafana 7.5 draws axes from 0 to 100."""

_TYPES = {POSTGRES: "postgres", PROMETHEUS: "prometheus"}
_POINTS = 180  # a week by the hour: from there on hour rollups answer


class PostgresQuery(Dataquery):
    """A query of Grafana's PostgreSQL datasource, which the SDK has no model of."""

    def __init__(self, statement: str, form: Literal["table", "time_series"], ref_id: str = "A") -> None:
        self._fields = {"refId": ref_id, "format": form, "rawQuery": True, "rawSql": statement}

    def build(self) -> PostgresQuery:
        """The query itself: it is its own builder."""
        return self

    def to_json(self) -> dict[str, object]:
        """The query as Grafana stores it."""
        return {"datasource": common.DataSourceRef(_TYPES[POSTGRES], POSTGRES), **self._fields}


@dataclass(frozen=True, slots=True)
class Header:
    """What every panel has: title, what to do about it, width (of 24) and height in Grafana's units."""

    title: str
    description: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Column:
    """How a field is shown: its unit, and what else overrides say of it."""

    unit: str | None = None
    decimals: int | None = None
    colour: str | None = None
    width: int | None = None
    steps: tuple[tuple[float | None, str], ...] = ()
    cell: Literal["", "background", "bar"] = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    def properties(self) -> list[dashboard.DynamicConfigValue]:
        """The overrides of Grafana, for tables of before and after version 10."""
        found: dict[str, Any] = dict(self.more)
        if self.unit is not None:
            found["unit"] = self.unit
        if self.decimals is not None:
            found["decimals"] = self.decimals
        if self.colour is not None:
            found["color"] = {"mode": "fixed", "fixedColor": self.colour}
        if self.width is not None:
            found["custom.width"] = self.width
        if self.steps:
            found["thresholds"] = {
                "mode": "absolute",
                "steps": [{"value": value, "color": colour} for value, colour in self.steps],
            }
            found.setdefault("color", {"mode": "thresholds"})
        if self.cell == "background":
            found["custom.displayMode"] = "color-background"
            found["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        elif self.cell == "bar":
            found["custom.displayMode"] = "basic"
            found["custom.cellOptions"] = {"type": "gauge", "mode": "basic"}
        return [dashboard.DynamicConfigValue(id_val=name, value=value) for name, value in found.items()]


def sql(statement: str, form: Literal["table", "time_series"] = "table") -> PostgresQuery:
    """A query of rollups."""
    return PostgresQuery(statement, form)


def rows(
    header: Header, query: PostgresQuery, columns: Mapping[str, Column], no_data: str, sort_by: str | None = None
) -> PanelBuilder:
    """A table."""
    panel = dress(table.Panel(), header, no_data, POSTGRES).targets([query]).show_header(True).align("auto")
    if sort_by is not None:
        panel.sort_by([common_builder.TableSortByFieldState().display_name(sort_by).desc(True)])
    return _override(panel, columns)


def chart(
    header: Header,
    queries: Sequence[Any],
    unit: str,
    no_data: str,
    *,
    columns: Mapping[str, Column] | None = None,
    stacked: bool = False,
    datasource: str = POSTGRES,
    minimum: float | None = 0,
    maximum: float | None = None,
    interval: str = "1m",
    fill: int | None = None,
    at_least: float | None = None,
) -> PanelBuilder:
    """Lines, or stacked bars, over time; the axis goes up to ``at_least`` even if no value does."""
    panel = dress(timeseries.Panel(), header, no_data, datasource).targets(list(queries)).unit(unit)
    panel.interval(interval).max_data_points(_POINTS).show_points(common.VisibilityMode.NEVER).span_nulls(True)
    panel.color_scheme(builder.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
    panel.legend(
        common_builder.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    panel.tooltip(common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    panel.line_width(2).fill_opacity((70 if stacked else 0) if fill is None else fill)
    panel.draw_style(common.GraphDrawStyle.BARS if stacked else common.GraphDrawStyle.LINE)
    if stacked:
        panel.line_width(0).stacking(common_builder.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if at_least is not None:
        panel.axis_soft_max(at_least)
    if minimum is not None:
        panel.min(minimum)
    if maximum is not None:
        panel.max(maximum)
    return _override(panel, columns or {})


def figures(
    header: Header,
    queries: Sequence[Any],
    unit: str,
    no_data: str,
    *,
    steps: Sequence[tuple[float | None, str]] = ((None, LINES[0]),),
    datasource: str = POSTGRES,
    columns: Mapping[str, Column] | None = None,
    decimals: int | None = None,
    spark: bool = False,
    of_rows: bool = False,
) -> PanelBuilder:
    """One large figure a field or series, with its course behind it if ``spark``; ``of_rows`` shows every row."""
    panel = dress(stat.Panel(), header, no_data, datasource).targets(list(queries)).unit(unit)
    panel.interval("1m").max_data_points(_POINTS)
    panel.reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]).values(of_rows))
    panel.graph_mode(common.BigValueGraphMode.AREA if spark else common.BigValueGraphMode.NONE)
    panel.color_mode(common.BigValueColorMode.VALUE).justify_mode(common.BigValueJustifyMode.AUTO)
    panel.text_mode(common.BigValueTextMode.AUTO).orientation(common.VizOrientation.AUTO)
    panel.thresholds(_thresholds(steps))
    if decimals is not None:
        panel.decimals(decimals)
    return _override(panel, columns or {})


def bars(
    header: Header,
    queries: Sequence[Any],
    unit: str,
    no_data: str,
    *,
    steps: Sequence[tuple[float | None, str]] = ((None, LINES[0]),),
    minimum: float = 0,
    maximum: float | None = None,
    datasource: str = POSTGRES,
    of_rows: bool = False,
) -> PanelBuilder:
    """A bar a field or series; fields rather than rows, because Grafana 7.5 has no names for rows."""
    panel = dress(bargauge.Panel(), header, no_data, datasource).targets(list(queries)).unit(unit).min(minimum)
    panel.reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]).values(of_rows))
    panel.orientation(common.VizOrientation.HORIZONTAL).display_mode(common.BarGaugeDisplayMode.BASIC)
    panel.show_unfilled(True).thresholds(_thresholds(steps))
    if maximum is not None:
        panel.max(maximum)
    return panel


def note(header: Header, content: str) -> PanelBuilder:
    """A text in Markdown."""
    panel = text.Panel().title(header.title).description(header.description).span(header.width).height(header.height)
    return panel.mode(text_model.TextMode.MARKDOWN).content(content)


def promql(expression: str, legend: str, ref_id: str = "A", *, instant: bool = False, exemplar: bool = False) -> Any:
    """A query of Prometheus."""
    query = prometheus_builder.Dataquery().expr(expression).legend_format(legend).ref_id(ref_id)
    query.datasource(common.DataSourceRef(_TYPES[PROMETHEUS], PROMETHEUS)).exemplar(exemplar)
    return query.instant() if instant else query.range()


def dress(panel: Any, header: Header, no_data: str, datasource: str) -> Any:
    """Give a panel its head, its place, what it says without data, and where it asks."""
    panel.title(header.title).description(header.description).span(header.width).height(header.height)
    return panel.no_value(no_data).datasource(common.DataSourceRef(_TYPES[datasource], datasource))


def _thresholds(steps: Sequence[tuple[float | None, str]]) -> Any:
    return (
        builder.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _override(panel: Any, columns: Mapping[str, Column]) -> PanelBuilder:
    for name, column in columns.items():
        panel.override_by_name(name, column.properties())
    found: PanelBuilder = panel
    return found

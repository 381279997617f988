"""Durations as a heat map, in the two forms that ``heatmap`` has had: before Grafana 9, and since.

The newer form is in ``options``; the older one (:mod:`.older_heatmap`) is laid into the same panel when it is written. Rows are
buckets: the names of the series are their upper bounds in seconds.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import heatmap
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import heatmap as heatmap_model

from .frame import Wording
from .older_heatmap import SCHEME
from .panels import POSTGRES, PanelBuilder, dress, sql
from .sql import FROM, INTERVAL, SCHEMA, TO

__all__ = ["duration_heatmap"]

_COARSE = 9  # buckets of 2 % a row, so about 20 %
_RARE = 0.0005  # rows with a smaller share of the span's answers are left out: the others get taller
_POINTS = 120


def duration_heatmap(words: Wording, flow: str, step: str, dimensions: str, width: int) -> PanelBuilder:
    """The distribution of durations over time: in each column, the share of answers by duration."""
    rows = (
        f'SELECT entry."time", ceil(entry.bucket / {_COARSE}.0)::int * {_COARSE} AS edge, sum(entry.amount)::float8 AS amount '
        'FROM (SELECT r."time", unnest(r.buckets) AS bucket, unnest(r.bucket_counts) AS amount '
        f"FROM {SCHEMA}.timeseries_rows({flow}, {step}, {FROM}, {TO}, {INTERVAL}, {dimensions}) AS r) AS entry GROUP BY 1, 2"
    )
    # Every row of every column, empty ones too: the rows are as tall as there are names.
    statement = (
        f"WITH cells AS ({rows}), edges AS (SELECT generate_series(min(edge), max(edge), {_COARSE}) AS edge FROM ("
        f"SELECT edge FROM cells GROUP BY edge HAVING sum(amount) >= {_RARE} * (SELECT sum(amount) FROM cells)) AS common), "
        'columns AS (SELECT "time", sum(amount) AS total FROM cells GROUP BY 1) '
        "SELECT columns.\"time\", to_char(power(1.02::float8, edges.edge), 'FM99990.099999') AS metric, "
        "100 * coalesce(cells.amount, 0) / columns.total AS value FROM columns CROSS JOIN edges "
        'LEFT JOIN cells USING ("time", edge) ORDER BY 1, edges.edge'
    )
    text = words.text(
        "How durations are spread, over time: in each column, the brighter a row, the larger the share of answers that took so "
        "long (up to the figure on the left, rows of about 20 %). The bright band moves up: everybody waits longer. A second band "
        "appears above: a part of the answers takes another way, find it by dimension. Rows with fewer than 0.05 % are left out."
    )
    header = words.header(words.text("Durations as a heat map"), text, width, 9)
    panel = dress(heatmap.Panel(), header, words.no_data(), POSTGRES).targets([sql(statement, "time_series")])
    panel.interval("1m").max_data_points(_POINTS).calculate(False).cell_gap(0).show_legend()
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(heatmap_model.HeatmapColorMode.SCHEME)
        .scheme(SCHEME)
        .steps(64)
        .exponent(0.5)
        .fill("#0072B2")
        .reverse(False)
    )
    panel.y_axis(heatmap.YAxisConfig().unit("s").decimals(1).axis_placement(common.AxisPlacement.LEFT))
    panel.rows_frame(heatmap.RowsHeatmapOptions().layout(common.HeatmapCellLayout.LE))
    panel.cell_values(heatmap.CellValues().unit("percent").decimals(1))
    panel.filter_values(heatmap.FilterValueRange().le(1e-9))
    panel.tooltip(heatmap.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(False))
    found: PanelBuilder = panel
    return found

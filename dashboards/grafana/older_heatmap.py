"""What a heat map needs in Grafana before version 9, which has it in the panel itself and knows no ``options``.

Newer ones read ``options`` and translate this form only where there are none
(https://github.com/grafana/grafana/blob/v9.0.0/public/app/plugins/panel/heatmap/migrations.ts).
"""

from __future__ import annotations

from typing import Any

__all__ = ["HEATMAP_BEFORE_9", "SCHEME"]

SCHEME = "Viridis"  # grows evenly in lightness, so that any colour vision reads it: https://bids.github.io/colormap/

HEATMAP_BEFORE_9: dict[str, Any] = {
    "dataFormat": "tsbuckets",
    "yBucketBound": "upper",
    "hideZeroBuckets": True,
    "highlightCards": True,
    "reverseYBuckets": False,
    "heatmap": {},
    "cards": {"cardPadding": None, "cardRound": None},
    "color": {
        "mode": "spectrum",
        "colorScheme": f"interpolate{SCHEME}",
        "colorScale": "sqrt",
        "exponent": 0.5,
        "cardColor": "#0072B2",
        "min": None,
        "max": None,
    },
    "legend": {"show": True},
    "tooltip": {"show": True, "showHistogram": False},
    "tooltipDecimals": 1,
    "xAxis": {"show": True},
    "yAxis": {"show": True, "format": "s", "decimals": 1, "logBase": 1, "splitFactor": None, "min": None, "max": None},
    "xBucketNumber": None,
    "xBucketSize": None,
    "yBucketNumber": None,
    "yBucketSize": None,
}

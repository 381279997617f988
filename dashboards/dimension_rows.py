"""Figures of a step by the values of its dimensions, for pages and reports alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..metrics.observation import SeriesKey
from ..metrics.rollup import Rollup
from ..metrics.specification.flow import FlowSpec
from .figure_types import Estimate
from .step_data import StepData, quantile_estimate, rate_estimate

__all__ = ["DimensionRow", "dimension_rows"]

_VALUES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class DimensionRow:
    """One value of a dimension at a step; ``dimension`` is its name."""

    dimension: str
    value: str
    observations: int
    p50: Estimate
    p95: Estimate
    good_rate: Estimate


def dimension_rows(flow: FlowSpec, rollup: Rollup, keys: Mapping[int, SeriesKey]) -> list[DimensionRow]:
    """Figures by the values of each dimension, most frequent first."""
    rows: list[DimensionRow] = []
    for dimension in flow.dimensions:
        values: dict[str, dict[int, SeriesKey]] = {}
        for number, key in keys.items():
            value = dict(key.dimensions).get(dimension.name)
            if value is not None:
                values.setdefault(value, {})[number] = key
        found = [_dimension_row(dimension.name, value, StepData(rollup, some)) for value, some in values.items()]
        found.sort(key=lambda row: -row.observations)
        rows += [row for row in found if row.observations][:_VALUES_SHOWN]
    return rows


def _dimension_row(name: str, value: str, data: StepData) -> DimensionRow:
    return DimensionRow(
        name,
        value,
        data.observations,
        quantile_estimate(data, 0.5),
        quantile_estimate(data, 0.95),
        rate_estimate(data.good, data.observations),
    )
